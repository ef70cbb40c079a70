// The official TypeScript client, told by lines of JSON on standard input what to do; as python_client.py.
// `node typescript_client.mjs URL MODULE`: MODULE is the client's dist/index.js.
import { createInterface } from "node:readline";

const [url, module] = process.argv.slice(2);
const mesh = await import(module);
const { createPromptmesh, fromJson, PromptmeshError, Session, StreamCutError, toJson } = mesh;
const clients = new Map();
const stops = new Map();

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const json = (message) => toJson(mesh[`${message.$typeName.split(".").at(-1)}Schema`], message, { alwaysEmitImplicit: true });

async function clientOf(credential) {
  const name = JSON.stringify(credential);
  if (!clients.has(name)) {
    const made = (async () => {
      if (!credential.email) return createPromptmesh({ baseUrl: url, apiKey: credential.key });
      const session = new Session({ baseUrl: url });
      await session.logIn(credential.email, credential.password);
      return createPromptmesh({ baseUrl: url, session });
    })();
    clients.set(name, made);
    made.catch(() => clients.delete(name));
  }
  return clients.get(name);
}

async function act(asked, signal) {
  const client = await clientOf(asked.as);
  const service = client[asked.service];
  const request = fromJson(mesh[`${asked.request}Schema`], asked.fields);
  const options = { signal, ...(asked.timeout_s ? { timeoutMs: asked.timeout_s * 1000 } : {}) };
  if (asked.do === "watch") {
    const onGap = () => say({ id: asked.id, event: { gap: true } });
    for await (const event of mesh.watchFeed(service, request, { signal, onGap })) say({ id: asked.id, event: json(event) });
    return {};
  }
  if (asked.do === "generate") return generate(service.generate(request, options), asked);
  const answer = await service[asked.typescript](request, options);
  if (answer?.posts) return { page: answer.posts.map(json) };
  return answer?.$typeName?.startsWith("promptmesh") ? json(answer) : {};
}

async function generate(stream, asked) {
  let text = "", usage = {}, done = {}, started = {}, deltas = 0;
  for await (const { event } of stream) {
    if (event.case === "started") {
      started = json(event.value);
      if (event.value.restarted) text = "";
    }
    if (event.case === "delta") {
      text += event.value.text;
      deltas += 1;
      if (asked.leave_after != null && deltas > asked.leave_after) return { left: true, text };
    }
    if (event.case === "usage") usage = json(event.value);
    if (event.case === "done") done = json(event.value);
  }
  return { text, usage, done, started };
}

async function answer(asked) {
  const stop = new AbortController();
  stops.set(asked.id, stop);
  try {
    say({ id: asked.id, ok: await act(asked, stop.signal) });
  } catch (error) {
    if (stop.signal.aborted) say({ id: asked.id, ok: { stopped: true } });
    else if (error instanceof StreamCutError) say({ id: asked.id, error: { code: "STREAM_CUT", reason: "", message: error.message } });
    else if (error instanceof PromptmeshError) {
      const { code, reason, message, retryAfterMs } = error;
      say({ id: asked.id, error: { code, reason, message, retry_after_s: (retryAfterMs ?? 0) / 1000 } });
    } else say({ id: asked.id, error: { code: "RAISED", reason: String(error?.name), message: String(error?.stack ?? error) } });
  } finally {
    stops.delete(asked.id);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.do === "stop") stops.get(asked.id)?.abort();
  else void answer(asked);
}
process.exit(0);
