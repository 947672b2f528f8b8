// Puts events (JSON lines on standard input) onto Feltsense's queue, from Node; nothing of Feltsense is installed.
//     npm ci
//     FELTSENSE_BROKER_URL=redis://... node publish.mjs < events.jsonl
// FELTSENSE_QUEUE: reflections (live, the default) or reflections.bulk. FELTSENSE_EVENT_KEY seals the events.
import { createCipheriv, createHash, randomBytes, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { createClient } from "celery-node";

const { FELTSENSE_BROKER_URL: broker, FELTSENSE_QUEUE: queue = "reflections", FELTSENSE_EVENT_KEY: key } = process.env;
const EACH = 64;

/** The envelope around an event: what docs/clients.md calls sealed. `key` is 32 bytes. */
function seal(event, key) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from("feltsense.event.1"));
  const data = [cipher.update(JSON.stringify(event), "utf8"), cipher.final(), cipher.getAuthTag()];
  return {
    sealed: 1,
    kid: createHash("sha256").update(key).digest("hex").slice(0, 8),
    nonce: nonce.toString("base64"),
    data: Buffer.concat(data).toString("base64"),
  };
}

const client = createClient(broker, broker, queue);
// The broker's user is asked for by name, and may not look at the server's state, which ioredis does before it begins.
const { username } = new URL(broker);
client.conf.CELERY_BROKER_OPTIONS = client.conf.CELERY_BACKEND_OPTIONS = {
  enableReadyCheck: false,
  ...(username && { username: decodeURIComponent(username) }),
};

/** Resolves when the broker has the message. celery-node's own `sendTask` says nothing when it does not. */
async function enrich(events) {
  const sent = key ? events.map((event) => seal(event, Buffer.from(key, "base64"))) : events;
  const { body, headers, properties } = client.createTaskMessage(randomUUID(), "feltsense.enrich", [sent], {});
  await client.broker.publish(body, "", queue, headers, properties);
  return events.length;
}

try {
  await client.isReady();
  let waiting = [];
  let count = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== "") waiting.push(JSON.parse(line));
    if (waiting.length === EACH) {
      count += await enrich(waiting);
      waiting = [];
    }
  }
  if (waiting.length > 0) count += await enrich(waiting);
  await client.disconnect();
  console.log(`${count} events are on ${queue}`);
} catch (error) {
  // Only its words: an error of the broker holds the message, and so somebody's text.
  console.error(`not published: ${error.message}`);
  process.exit(1);
}
