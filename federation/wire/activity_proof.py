"""Integrity proofs that activities of others carry themselves: FEP-8b32 with `eddsa-jcs-2022`.

Decides whether an activity was signed by a key that its actor lists. Whether a proof is enough
without an HTTP signature is decided in `receiving.sender`. What we publish is held to stricter
rules, in `proof`; here a time may have fractions, and a proof without a `@context` is read with
and without that of the document, as implementations do either. A Linked Data signature
(`signature`) beside the proof was made after it: it is left out, and never verified. Proofs of
other cryptosuites say nothing here.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from federation.actors.remote_actor import RemoteActor
from federation.errors import BadProof, BadRequest
from federation.wire import multibase
from federation.wire.proof import SUITE, ProofKey, check_context, check_life, hash_data
from federation.wire.strictjson import JsonObject, canonical

MAX_TIME_CHARACTERS: Final = 40
_NEEDED: Final = {"verificationMethod", "created", "proofValue", "type", "proofPurpose"}
_UNSIGNED: Final = ("proof", "signature")


def has_proof(document: JsonObject) -> bool:
    """Tell whether an activity carries a proof of the kind that is verified here."""
    proof = document.get("proof")
    return isinstance(proof, dict) and proof.get("cryptosuite") == SUITE


def created_at(document: JsonObject) -> int:
    """Return when an activity's proof says it was made, in epoch seconds; else `BadProof`."""
    return _created(_options(document)["created"])


def verify_activity(document: JsonObject, actor: RemoteActor, now: int) -> tuple[ProofKey, int]:
    """Return the key of `actor` that signed the activity, and when, in epoch seconds.

    Raises `BadProof`: also for a key that had expired by then, or is revoked.
    """
    options = _options(document)
    if document.get("actor") != actor.id:
        raise BadProof("the activity is of another actor than its proof")
    key = actor.proof_keys.get(str(options["verificationMethod"]))
    if key is None or key.is_revoked:
        raise BadProof("the proof's verificationMethod is no key of the actor")
    created = _created(options["created"])
    check_life(key, created, now)
    if not any(_fits(key, *said) for said in _readings(options, document)):
        raise BadProof("the proof does not fit the activity")
    return key, created


def _options(document: JsonObject) -> dict[str, Any]:
    options = document.get("proof")
    if not isinstance(options, dict) or not options.keys() >= _NEEDED:
        raise BadProof(f"the activity has no proof with {', '.join(sorted(_NEEDED))}")
    if options["type"] != "DataIntegrityProof" or options["proofPurpose"] != "assertionMethod":
        raise BadProof("the proof is no assertion")
    return options


def _created(value: object) -> int:
    try:
        if isinstance(value, str) and value.isascii() and len(value) <= MAX_TIME_CHARACTERS:
            time = datetime.fromisoformat(value)
            if time.tzinfo is not None:
                return int(time.timestamp())
    except (ValueError, OverflowError) as error:
        raise BadProof("the proof's time of creation cannot be read") from error
    raise BadProof("the proof's time of creation is missing")


def _readings(
    options: dict[str, Any], document: JsonObject
) -> Iterator[tuple[bytes, JsonObject, JsonObject]]:
    """Give what may have been signed: proof value, options and document."""
    unsecured = {name: value for name, value in document.items() if name not in _UNSIGNED}
    signed = {name: value for name, value in options.items() if name != "proofValue"}
    try:
        value = multibase.decode(options["proofValue"])
    except BadRequest as error:
        raise BadProof("the proof's value cannot be read") from error
    if "@context" in signed:  # vc-di-eddsa, section 3.3.2: a prefix of the document's
        if signed["@context"] != document.get("@context"):
            check_context(signed["@context"], document.get("@context"))
        yield value, signed, unsecured | {"@context": signed["@context"]}
    else:
        yield value, signed | {"@context": document.get("@context")}, unsecured
        yield value, signed, unsecured


def _fits(key: ProofKey, value: bytes, options: JsonObject, unsecured: JsonObject) -> bool:
    try:
        key.public.verify(value, hash_data(canonical(options), canonical(unsecured)))
    except (InvalidSignature, BadRequest):
        return False
    return True
