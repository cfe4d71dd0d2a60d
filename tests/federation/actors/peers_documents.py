"""Actors as other software writes them: the shapes are theirs, hosts, names and keys made up.

Where each shape was read is written beside it. The contexts are whole, for what stands in them
decides whether a document can be read as plain JSON.
"""

from federation.signing import keys
from tests.federation.samples import proof_key, rsa_key

AS = "https://www.w3.org/ns/activitystreams"
SECURITY = "https://w3id.org/security/v1"
PEM = keys.to_pem(rsa_key().public_key())


def _iri(name):
    return {"@id": name, "@type": "@id"}


def _terms(prefix, *names):
    return {name: f"{prefix}:{name}" for name in names}


def _key(actor_id, fragment="#main-key", **more):
    return {"id": f"{actor_id}{fragment}", "owner": actor_id, "publicKeyPem": PEM, **more}


def mastodon():
    """fedidevs.org, content/reference/actor; a user as of 4.2."""
    me = "https://mastodon.example/users/mona"
    return {
        "@context": [
            AS,
            SECURITY,
            {
                "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
                "toot": "http://joinmastodon.org/ns#",
                "featured": _iri("toot:featured"),
                "featuredTags": _iri("toot:featuredTags"),
                "alsoKnownAs": _iri("as:alsoKnownAs"),
                "movedTo": _iri("as:movedTo"),
                "schema": "http://schema.org#",
                **_terms("schema", "PropertyValue", "value"),
                **_terms("toot", "discoverable", "Device", "Ed25519Signature", "Ed25519Key"),
                **_terms("toot", "Curve25519Key", "EncryptedMessage", "publicKeyBase64"),
                **_terms("toot", "deviceId", "messageFranking", "messageType", "cipherText"),
                **{one: _iri(f"toot:{one}") for one in ("claim", "fingerprintKey", "identityKey")},
                "devices": _iri("toot:devices"),
                **_terms("toot", "suspended", "memorial", "indexable"),
                "focalPoint": {"@container": "@list", "@id": "toot:focalPoint"},
            },
        ],
        "id": me,
        "type": "Person",
        **{one: f"{me}/{one}" for one in ("following", "followers", "inbox", "outbox")},
        "featured": f"{me}/collections/featured",
        "featuredTags": f"{me}/collections/tags",
        "preferredUsername": "mona",
        "name": "Mona",
        "summary": "<p>Pictures</p>",
        "url": "https://mastodon.example/@mona",
        "manuallyApprovesFollowers": False,
        "discoverable": True,
        "indexable": True,
        "published": "2016-03-16T00:00:00Z",
        "memorial": False,
        "devices": f"{me}/collections/devices",
        "alsoKnownAs": ["https://elsewhere.example/users/mona"],
        "publicKey": _key(me),
        "tag": [],
        "attachment": [{"type": "PropertyValue", "name": "Site", "value": "<a>site</a>"}],
        "endpoints": {"sharedInbox": "https://mastodon.example/inbox"},
        "icon": {"type": "Image", "mediaType": "image/png", "url": "https://files.example/a.png"},
    }


def mastodon_instance():
    """Mastodon, app/serializers/activitypub/actor_serializer.rb: its instance actor."""
    me = "https://mastodon.example/actor"
    return mastodon() | {
        "id": me,
        "type": "Application",
        "inbox": f"{me}/inbox",
        "outbox": f"{me}/outbox",
        "preferredUsername": "mastodon.example",
        "url": "https://mastodon.example/about/more?instance_actor=true",
        "manuallyApprovesFollowers": True,
        "publicKey": _key(me),
        "followers": None,
    }


def lemmy():
    """LemmyNet/lemmy, crates/apub/assets/lemmy/objects/instance.json: its instance actor."""
    me = "https://lemmy.example/"
    return {
        "@context": [
            AS,
            SECURITY,
            {
                "lemmy": "https://join-lemmy.org/ns#",
                "pt": "https://joinpeertube.org/ns#",
                "sc": "http://schema.org/",
                "commentsEnabled": "pt:commentsEnabled",
                "sensitive": "as:sensitive",
                "matrixUserId": {"@type": "xsd:string", "@id": "lemmy:matrixUserId"},
                "moderators": {"@type": "@id", "@id": "lemmy:moderators"},
                "stickied": {"@type": "xsd:boolean", "@id": "lemmy:stickied"},
            },
        ],
        "type": "Application",
        "id": me,
        "name": "Lemmy",
        "summary": "An instance",
        "content": "<p>sidebar</p>",
        "mediaType": "text/html",
        "source": {"content": "sidebar", "mediaType": "text/markdown"},
        "inbox": f"{me}inbox",
        "outbox": f"{me}outbox",
        "publicKey": _key(me),
        "published": "2022-01-19T21:52:11.110741+00:00",
    }


def lemmy_today():
    """The same with the context that Lemmy keeps on its own site since 0.19."""
    return lemmy() | {"@context": ["https://join-lemmy.org/context.json", AS]}


def gotosocial():
    """superseriousbusiness/gotosocial, internal/transport/dereference_test.go."""
    me = "https://gts.example/users/greta"
    return {
        "@context": [
            "https://gotosocial.org/ns",
            SECURITY,
            AS,
            {
                **_terms("toot", "discoverable", "indexable"),
                "featured": _iri("toot:featured"),
                "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
                "toot": "http://joinmastodon.org/ns#",
            },
        ],
        "discoverable": True,
        "featured": f"{me}/collections/featured",
        **{one: f"{me}/{one}" for one in ("following", "followers", "inbox", "outbox")},
        "hidesCcPublicFromUnauthedWeb": False,
        "hidesToPublicFromUnauthedWeb": False,
        "id": me,
        "indexable": True,
        "manuallyApprovesFollowers": True,
        "name": "greta",
        "preferredUsername": "greta",
        "publicKey": _key(me, "/main-key"),
        "published": "2022-05-20T11:09:18Z",
        "summary": "<p>hello</p>",
        "tag": [],
        "type": "Person",
        "url": "https://gts.example/@greta",
    }


def misskey():
    """fedidevs.org, content/reference/actor, with the context of misskey-dev/misskey."""
    me = "https://misskey.example/users/7rkr"
    return {
        "@context": [
            AS,
            SECURITY,
            {
                "Key": "sec:Key",
                **_terms("as", "manuallyApprovesFollowers", "sensitive", "Hashtag", "quoteUrl"),
                "toot": "http://joinmastodon.org/ns#",
                **_terms("toot", "Emoji", "featured", "discoverable"),
                "schema": "http://schema.org#",
                **_terms("schema", "PropertyValue", "value"),
                "misskey": "https://misskey-hub.net/ns#",
                **_terms("misskey", "_misskey_content", "_misskey_quote", "_misskey_summary"),
                **_terms("misskey", "_misskey_reaction", "_misskey_votes", "isCat"),
                **_terms("misskey", "_misskey_followedMessage"),
                "vcard": "http://www.w3.org/2006/vcard/ns#",
            },
        ],
        "type": "Person",
        "id": me,
        **{one: f"{me}/{one}" for one in ("following", "followers", "inbox", "outbox")},
        "featured": f"{me}/collections/featured",
        "sharedInbox": "https://misskey.example/inbox",
        "endpoints": {"sharedInbox": "https://misskey.example/inbox"},
        "url": "https://misskey.example/@mika",
        "preferredUsername": "mika",
        "name": "\u3057\u3085\u3044\u308d",
        "summary": None,
        "_misskey_summary": None,
        "icon": {"type": "Image", "url": "https://media.example/a", "sensitive": False},
        "tag": [{"type": "Hashtag", "href": "https://misskey.example/tags/a", "name": "#a"}],
        "manuallyApprovesFollowers": False,
        "discoverable": True,
        "publicKey": _key(me, type="Key"),
        "isCat": True,
        "attachment": [],
        "vcard:bday": "1997-12-06",
        "vcard:Address": "Japan",
    }


def piefed():
    """PieFed, its page on users as Person actors."""
    me = "https://piefed.example/u/rita"
    return {
        "@context": [AS, SECURITY],
        "discoverable": True,
        "endpoints": {"sharedInbox": "https://piefed.example/inbox"},
        "icon": {"type": "Image", "url": "https://piefed.example/static/a.jpg"},
        "id": me,
        "inbox": f"{me}/inbox",
        "indexable": True,
        "manuallyApprovesFollowers": False,
        "matrixUserId": "@rita:matrix.example",
        "name": "Rita",
        "outbox": f"{me}/outbox",
        "preferredUsername": "rita",
        "publicKey": _key(me),
        "published": "2024-01-01T00:00:00.000000+00:00",
        "type": "Person",
        "url": me,
    }


def piefed_community():
    """PieFed, its page on communities as Group actors."""
    me = "https://piefed.example/c/meta"
    return piefed() | {
        "attributedTo": f"{me}/moderators",
        "featured": f"{me}/featured",
        "followers": f"{me}/followers",
        "id": me,
        "inbox": f"{me}/inbox",
        "moderators": f"{me}/moderators",
        "newModsWanted": False,
        "outbox": f"{me}/outbox",
        "postingRestrictedToMods": False,
        "preferredUsername": "meta",
        "privateMods": False,
        "publicKey": _key(me),
        "type": "Group",
    }


def pixelfed():
    """fedidevs.org, content/reference/actor."""
    me = "https://pixelfed.example/users/pia"
    return {
        "@context": [
            SECURITY,
            AS,
            {
                "toot": "http://joinmastodon.org/ns#",
                "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
                "alsoKnownAs": _iri("as:alsoKnownAs"),
                "movedTo": _iri("as:movedTo"),
                **_terms("toot", "indexable", "suspended"),
            },
        ],
        "id": me,
        "type": "Person",
        **{one: f"{me}/{one}" for one in ("following", "followers", "inbox", "outbox")},
        "preferredUsername": "pia",
        "name": "pia",
        "summary": "photos",
        "url": "https://pixelfed.example/pia",
        "manuallyApprovesFollowers": False,
        "indexable": True,
        "published": "2018-06-01T00:00:00Z",
        "publicKey": _key(me),
        "icon": {"type": "Image", "mediaType": "image/jpeg", "url": "https://pixelfed.example/a"},
        "endpoints": {"sharedInbox": "https://pixelfed.example/f/inbox"},
    }


def fedify():
    """fedify-dev/fedify, packages/fedify/src/federation/handler.test.ts, with both its keys."""
    me = "https://fedify.example/users/fay"
    return {
        "@context": [
            AS,
            SECURITY,
            "https://w3id.org/security/data-integrity/v1",
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://gotosocial.org/ns",
            {
                "alsoKnownAs": _iri("as:alsoKnownAs"),
                "manuallyApprovesFollowers": "as:manuallyApprovesFollowers",
                "movedTo": _iri("as:movedTo"),
                "featured": _iri("toot:featured"),
                "featuredTags": _iri("toot:featuredTags"),
                **_terms("toot", "discoverable", "indexable", "memorial", "suspended", "Emoji"),
                "toot": "http://joinmastodon.org/ns#",
                "schema": "http://schema.org#",
                **_terms("schema", "PropertyValue", "value"),
                "misskey": "https://misskey-hub.net/ns#",
                **_terms("misskey", "_misskey_followedMessage", "isCat"),
            },
        ],
        "id": me,
        "type": "Person",
        "preferredUsername": "fay",
        "name": "Fay",
        "inbox": f"{me}/inbox",
        "outbox": f"{me}/outbox",
        "endpoints": {"type": "as:Endpoints", "sharedInbox": "https://fedify.example/inbox"},
        "publicKey": _key(me, type="CryptographicKey"),
        "assertionMethod": {
            "id": f"{me}#multikey-2",
            "type": "Multikey",
            "controller": me,
            "publicKeyMultibase": keys.to_multikey(proof_key("fay").public_key()),
        },
    }


ALL = (
    *(mastodon, mastodon_instance, lemmy, lemmy_today, gotosocial),
    *(misskey, piefed, piefed_community, pixelfed, fedify),
)
