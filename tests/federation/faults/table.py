"""The faults known elsewhere: what went wrong, and where. `test_table` holds tests to it."""

FAULTS = [
    ("the result of verifying is not looked at", "Mbin GHSA-x9g5-vwhc-pxm7, apkit"),
    ("signer is not the actor", "Fedify CVE-2025-54888, Misskey"),
    ("digest absent or not covered", "Misskey CVE-2026-28432, apsig"),
    ("key document is not the key asked for", "Fedify 2.3.5"),
    ("origin not checked", "Mastodon CVE-2024-23832"),
    ("content type not checked", "Mastodon CVE-2024-25623"),
    ("host spelled in other ways", "Mastodon CVE-2023-42451"),
    ("graph tricks", "Mastodon CVE-2026-46349, -48028; Fedify CVE-2026-42462"),
    (
        "server-side request forgery: ranges",
        "Mastodon CVE-2026-22245, Fedify CVE-2026-50131, Lemmy CVE-2026-33693",
    ),
    (
        "server-side request forgery: redirect, rebinding, second URL",
        "Fedify CVE-2026-77632, -62857, CVE-2024-39687",
    ),
    ("redirect loops, refetched keys", "Fedify CVE-2025-23221, CVE-2026-34148"),
    ("one message, many fetches", "Lemmy, WordPress"),
    ("endless collections", "PeerTube CVE-2025-32947"),
    ("decompression bombs", "aiohttp CVE-2025-69228, CVE-2026-22815"),
    ("slow answers", "Mastodon CVE-2023-36461"),
    ("regular expressions", "Fedify CVE-2025-68475"),
    ("state that a stranger can grow", "Fedify CVE-2026-69132"),
    ("parser differences", "jcs, json"),
    ("follow state", "Pixelfed CVE-2025-30741"),
    ("approval bypass", "Mastodon CVE-2026-27468"),
    ("races with the unknown", "Mastodon CVE-2026-33869"),
    ("replay", "RFC 9421 section 7"),
]
