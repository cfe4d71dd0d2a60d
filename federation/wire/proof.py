"""Integrity proofs of documents: FEP-8b32 with `eddsa-jcs-2022` (W3C vc-di-eddsa, section 3.3).

Decides whether a document was signed by a key of the actor it is attributed to. Which keys an
actor has is read elsewhere (`remote_actor`), and so is what a revoked key still counts for. A
bad proof is a rejection even when the HTTP signature is good.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.errors import BadProof, BadRequest
from federation.wire import multibase
from federation.wire.graph import is_plain
from federation.wire.strictjson import JsonObject, canonical
from federation.wire.times import from_rfc3339, to_rfc3339

CLOCK_SKEW_SECONDS: Final = 3_600  # a proof may be this far in the future
SUITE: Final = "eddsa-jcs-2022"
_FIXED: Final = {
    "type": "DataIntegrityProof",
    "cryptosuite": SUITE,
    "proofPurpose": "assertionMethod",
}
_FIELDS: Final = {*_FIXED, "@context", "verificationMethod", "created", "proofValue"}


@dataclass(frozen=True, slots=True)
class ProofKey:
    """A Multikey of an actor, and when it counts; times in epoch seconds."""

    id: str
    controller: str
    public: Ed25519PublicKey
    expires: int | None = None
    revoked: int | None = None
    revoked_from: tuple[str, int] | None = None  # epoch and first page that no longer count

    @property
    def is_revoked(self) -> bool:
        """Tell whether it counts no more, but for the pages before `revoked_from`."""
        return self.revoked is not None or self.revoked_from is not None


@dataclass(frozen=True, slots=True)
class Proven:
    """A document whose proof has been verified, and the key that signed it."""

    document: JsonObject
    key: ProofKey
    created: int
    digest: str  # multibase, of the document's RFC 8785 form without `proof`
    is_plain: bool  # no graph tricks but perhaps in its own context (`graph.is_plain`)


def sign(
    document: JsonObject, private: Ed25519PrivateKey, verification_method: str, created: int
) -> JsonObject:
    """Return `document` with a `proof` of exactly the fields that peers expect."""
    options: JsonObject = {
        "@context": document["@context"],
        **_FIXED,
        "verificationMethod": verification_method,
        "created": to_rfc3339(created),
    }
    signature = private.sign(hash_data(canonical(options), canonical(document)))
    return {**document, "proof": {**options, "proofValue": multibase.encode(signature)}}


def verify(document: JsonObject, keys: Mapping[str, ProofKey], now: int) -> Proven:
    """Verify the proof of a parsed `document` with the keys of the actor it is attributed to.

    Raises `BadProof` unless one of `keys` made it, within that key's life, and that key's
    controller is the document's `attributedTo`.
    """
    options = _options(document)
    key = _key(document, options, keys)
    created = _created(options, key, now)
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    unsecured["@context"] = options["@context"]
    signed = _verify(key.public, options, unsecured)
    if options["@context"] != document["@context"]:  # a prefix was signed
        signed = canonical(unsecured | {"@context": document["@context"]}, is_strict=True)
    return Proven(document, key, created, multibase.digest(signed), is_plain(signed))


def check_context(of_proof: object, of_document: object) -> None:
    """The proof's context is a prefix of the document's, both arrays (vc-di-eddsa 3.3.2)."""
    if not isinstance(of_proof, list) or not isinstance(of_document, list) or not of_proof:
        raise BadProof("the @context of document and proof are not both arrays")
    if of_document[: len(of_proof)] != of_proof:
        raise BadProof("the proof's @context is no prefix of the document's")


def check_life(key: ProofKey, created: int, now: int) -> None:
    """Raise `BadProof` for a proof from the future, or made after its key expired."""
    if created > now + CLOCK_SKEW_SECONDS:
        raise BadProof("the proof was created in the future")
    if key.expires is not None and created > key.expires:
        raise BadProof("the proof was created after its key expired")


def hash_data(options: bytes, document: bytes) -> bytes:
    """Return the 64 bytes that are signed, from two canonical forms (vc-di-eddsa 3.3.4)."""
    return hashlib.sha256(options).digest() + hashlib.sha256(document).digest()


def _options(document: JsonObject) -> dict[str, Any]:
    proof = document.get("proof")
    if not isinstance(proof, dict) or proof.keys() != _FIELDS:
        raise BadProof(f"the document has no proof with exactly the fields {sorted(_FIELDS)}")
    for name, value in _FIXED.items():
        if proof[name] != value:
            raise BadProof(f"the proof's {name} is not {value}")
    check_context(proof["@context"], document.get("@context"))
    return proof


def _key(document: JsonObject, options: dict[str, Any], keys: Mapping[str, ProofKey]) -> ProofKey:
    method = options["verificationMethod"]
    key = keys.get(method) if isinstance(method, str) else None
    if key is None:
        raise BadProof("the proof's verificationMethod is no key of the actor")
    if key.id != method or key.controller != document.get("attributedTo"):
        raise BadProof("the proof's key does not belong to whom the document is attributed to")
    return key


def _created(options: dict[str, Any], key: ProofKey, now: int) -> int:
    try:
        created = from_rfc3339(options["created"])
    except BadRequest as error:
        raise BadProof("the proof's time of creation cannot be read") from error
    check_life(key, created, now)
    return created


def _verify(public: Ed25519PublicKey, options: dict[str, Any], unsecured: JsonObject) -> bytes:
    """Return what was signed."""
    signed = {name: value for name, value in options.items() if name != "proofValue"}
    try:
        signature, form = multibase.decode(options["proofValue"]), _form(unsecured)
        public.verify(signature, hash_data(_form(signed), form))
    except (BadRequest, InvalidSignature) as error:
        raise BadProof("the proof does not fit the document") from error
    return form


def _form(document: JsonObject) -> bytes:
    return canonical(document, is_strict=True)
