// A Fedify server on loopback, which tests/e2e/test_fedify.py drives. It decides nothing: it does
// what it is told on /control, and keeps what its own verification let through to its listeners.
//
// Loopback has no TLS: lookups by handle, which go to https by law, are sent to http here.
import { createFederation, generateCryptoKeyPair, MemoryKvStore,
  signObject, verifyObject } from "@fedify/fedify";
import * as vocab from "@fedify/vocab";
import { serve } from "@hono/node-server";

const sent = []; // every request of Fedify's: method, url, kind of signature, status
const plainFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const request = new Request(input, init);
  const url = new URL(request.url);
  if (url.protocol === "https:" && url.hostname === "127.0.0.1") url.protocol = "http:";
  const answer = await plainFetch(url.href === request.url ? request : new Request(url, request));
  const scheme = request.headers.has("signature-input") ? "rfc9421"
    : request.headers.has("signature") ? "cavage" : "none";
  sent.push({ method: request.method, url: url.href, scheme, status: answer.status });
  return answer;
};

const received = []; // activities that listeners were given
const pairs = await Promise.all([ // keys are slow to make, so every actor shares them
  generateCryptoKeyPair("RSASSA-PKCS1-v1_5"),
  generateCryptoKeyPair("Ed25519"),
]);
const federation = createFederation({
  kv: new MemoryKvStore(),
  allowPrivateAddress: true,
  firstKnock: process.env.FIRST_KNOCK,
});

federation
  .setActorDispatcher("/users/{identifier}", async (context, identifier) => {
    const own = await context.getActorKeyPairs(identifier);
    return new vocab.Service({
      id: context.getActorUri(identifier),
      preferredUsername: identifier,
      inbox: context.getInboxUri(identifier),
      endpoints: new vocab.Endpoints({ sharedInbox: context.getInboxUri() }),
      publicKey: own[0].cryptographicKey,
      assertionMethods: own.map((pair) => pair.multikey),
    });
  })
  .setKeyPairsDispatcher(() => pairs);
federation
  .setInboxListeners("/users/{identifier}/inbox", "/inbox")
  .on(vocab.Activity, async (_, activity) => {
    received.push(await activity.toJsonLd());
  });

let base;
const context = () => federation.createContext(new URL(base));
const read = (document) => vocab.Activity.fromJsonLd(document, context());

const commands = {
  async lookup({ what }) {
    const found = await context().lookupObject(what);
    return found == null ? null : found.toJsonLd(context());
  },
  async fetch({ name, url }) { // signed, as an actor of its own
    const loader = await context().getDocumentLoader({ identifier: name });
    return (await loader(url)).document;
  },
  async send({ name, activity, to }) {
    const inbox = new URL(to.inbox);
    await context().sendActivity({ identifier: name }, { id: new URL(to.id), inboxId: inbox },
      await read(activity));
  },
  async prove({ name, activity }) { // sign with a proof alone
    const pair = (await context().getActorKeyPairs(name))[1];
    const proven = await signObject(await read(activity), pair.privateKey, pair.multikey.id,
      context());
    return proven.toJsonLd({ ...context(), format: "compact" });
  },
  async verify({ document }) {
    return (await verifyObject(vocab.Object, document, context())) != null;
  },
  received: () => received,
  sent: () => sent,
};

async function control(request) {
  const { command, ...rest } = await request.json();
  try {
    return Response.json({ result: (await commands[command](rest)) ?? null });
  } catch (error) {
    return Response.json({ error: String(error?.stack ?? error) });
  }
}

serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => new URL(request.url).pathname === "/control" ? control(request)
    : federation.fetch(request, { contextData: undefined }),
}, (address) => {
  base = `http://127.0.0.1:${address.port}`;
  console.log(base);
});
process.stdin.on("end", () => process.exit(0)).resume(); // the test is gone
