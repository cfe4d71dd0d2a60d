"""The JSON-LD contexts we send, as fixed text that readers compare by equality.

Nothing is ever fetched or processed as JSON-LD here. Our own terms stand inline, because a
remote context of ours would be fetched by every peer.
"""

from typing import Any, Final

ACTIVITYSTREAMS: Final = "https://www.w3.org/ns/activitystreams"
SECURITY_V1: Final = "https://w3id.org/security/v1"
DATA_INTEGRITY_V2: Final = "https://w3id.org/security/data-integrity/v2"
MULTIKEY_V1: Final = "https://w3id.org/security/multikey/v1"
DID_V1: Final = "https://www.w3.org/ns/did/v1"

NAMESPACE: Final = "urn:fediverdict:ns#"
LABEL_PREFIX: Final = "urn:fediverdict:label:"
RULE_PREFIX: Final = "urn:fediverdict:rule:"


def _json(name: str) -> dict[str, str]:
    return {"@id": f"fv:{name}", "@type": "@json"}


TERMS: Final[dict[str, Any]] = {
    "fv": NAMESPACE,
    "AttestationPage": "fv:AttestationPage",
    "FeedHead": "fv:FeedHead",
    "wire": "fv:wire",
    "epoch": "fv:epoch",
    "page": "fv:page",
    "firstSeq": "fv:firstSeq",
    "count": "fv:count",
    "previousDigest": "fv:previousDigest",
    "digestMultibase": "https://w3id.org/security#digestMultibase",
    "firstPage": "fv:firstPage",
    "lastPage": "fv:lastPage",
    **{
        name: _json(name)
        for name in ("previousEpoch", "labels", "rules", "pipelines", "columns", "rows")
    },
}
"""The terms of pages, of the stubs that announce them, and of heads."""

FEED_TERMS: Final[dict[str, Any]] = {
    **TERMS,
    "MergedPages": "fv:MergedPages",
    "SnapshotManifest": "fv:SnapshotManifest",
    "SnapshotPart": "fv:SnapshotPart",
    "throughPage": "fv:throughPage",
    "nextSeq": "fv:nextSeq",
    "part": "fv:part",
    "weekRows": "fv:weekRows",
    "sealed": "fv:sealed",
    "mergedThrough": "fv:mergedThrough",
    "head": "fv:head",
    "snapshot": {"@id": "fv:snapshot", "@type": "@id"},
    **{name: _json(name) for name in ("pages", "parts", "previousEpochs")},
}
"""The terms of merged pages, snapshots and outboxes: those of pages and more.

They stand apart, because every page carries its context: small pages are mostly context.
"""

ATTESTATION_TERMS: Final[dict[str, Any]] = {
    "fv": NAMESPACE,
    "Attestation": "fv:Attestation",
    "wire": "fv:wire",
    "epoch": "fv:epoch",
    "seq": "fv:seq",
    **{name: _json(name) for name in ("labels", "rules", "pipelines", "columns", "rows")},
}
"""The terms of single attestations."""

ACTOR_TERMS: Final[dict[str, Any]] = {
    "fv": NAMESPACE,
    "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
    "feed": "fv:feed",
    "revokedFrom": _json("revokedFrom"),
}
"""The terms of actors; an actor's `feed` counts only where exactly these are declared."""

PAGE_CONTEXT: Final[list[Any]] = [ACTIVITYSTREAMS, DATA_INTEGRITY_V2, TERMS]

FEED_CONTEXT: Final[list[Any]] = [ACTIVITYSTREAMS, DATA_INTEGRITY_V2, FEED_TERMS]

ATTESTATION_CONTEXT: Final[list[Any]] = [
    ACTIVITYSTREAMS,
    DATA_INTEGRITY_V2,
    ATTESTATION_TERMS,
]

ACTOR_CONTEXT: Final[list[Any]] = [
    ACTIVITYSTREAMS,
    SECURITY_V1,
    DATA_INTEGRITY_V2,
    MULTIKEY_V1,
    DID_V1,
    ACTOR_TERMS,
]
"""Fedify finds `assertionMethod` only with did/v1, tried with 2.3.6."""
