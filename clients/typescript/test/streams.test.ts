import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { createPromptmesh, PromptmeshError, StreamCutError, type GenerateResponse, type Promptmesh } from "@promptmesh/client";
import { HttpBodySchema } from "../dist/gen/google/api/httpbody_pb.js";
import { ErrorInfoSchema } from "../dist/gen/google/rpc/error_details_pb.js";
import { GenerateRequestSchema, GenerateResponseSchema } from "../dist/gen/promptmesh/inference/v1/inference_pb.js";
import { collect, startToy, thrown, type Call, type Toy } from "./toy.ts";

let toy: Toy;
let mesh: Promptmesh;

before(async () => {
  toy = await startToy();
});
after(() => toy.close());
beforeEach(() => {
  toy.calls.length = 0;
  mesh = createPromptmesh({ baseUrl: toy.url, apiKey: "pm_key" });
});

const delta = (call: Call, text: string) =>
  call.send(GenerateResponseSchema, { event: { case: "delta", value: { text } } });
const done = (call: Call) => call.send(GenerateResponseSchema, { event: { case: "done", value: {} } });
const generate = (options = {}) => mesh.inference.generate({ messages: [{ role: 2, content: "hi" }] }, options);

test("a stream yields every message and ends after its end", async () => {
  toy.will(async (call) => {
    await delta(call, "a");
    await delta(call, "b");
    await done(call);
    await call.end();
  });

  const events = (await collect(generate())).map((one) => one.event.case);
  assert.deepEqual(events, ["delta", "delta", "done"]);
  assert.equal(toy.calls[0]?.token, "pm_key");
  assert.equal(toy.calls[0]?.request(GenerateRequestSchema).messages[0]?.content, "hi");
  assert.equal(toy.calls[0]?.headers["grpc-timeout"], undefined);
});

for (const [how, ending] of Object.entries({
  "the connection is cut": (call: Call) => call.cut(),
  "HTTP ends in order, without trailers": (call: Call) => call.endWithoutTrailers(),
  "gRPC ends in order, without the terminal event": (call: Call) => call.end(),
})) {
  test(`a stream is cut when ${how}`, async () => {
    toy.will(async (call) => {
      await delta(call, "a");
      await ending(call);
    });
    const got: GenerateResponse[] = [];

    const error = await thrown(() => collect(generate(), got));
    assert.ok(error instanceof StreamCutError && error instanceof PromptmeshError, String(error));
    assert.deepEqual([error.code, error.reason, error.requestId], ["UNAVAILABLE", "STREAM_CUT", "toy-request"]);
    assert.equal(got.length, 1);
  });
}

test("a stream that is cut before its first message is cut, too", async () => {
  toy.will((call) => call.endWithoutTrailers());

  assert.ok((await thrown(() => collect(generate()))) instanceof StreamCutError);
});

test("nothing that happens after the end makes the stream fail", async () => {
  toy.will(async (call) => {
    await done(call);
    call.cut();
  });

  assert.equal((await collect(generate())).length, 1);
});

test("an error event is thrown, after what came before it", async () => {
  toy.will(async (call) => {
    await call.send(GenerateResponseSchema, { event: { case: "started", value: { requestId: "r-7" } } });
    await delta(call, "a");
    const value = { code: 14, reason: "PROVIDER_ANSWER_BROKEN", message: "It broke." };
    await call.send(GenerateResponseSchema, { event: { case: "error", value } });
    await call.end();
  });
  const got: GenerateResponse[] = [];

  const error = await thrown(() => collect(generate(), got));
  assert.ok(error instanceof PromptmeshError && !(error instanceof StreamCutError));
  assert.deepEqual(
    [error.code, error.reason, error.message, error.requestId],
    ["UNAVAILABLE", "PROVIDER_ANSWER_BROKEN", "It broke.", "r-7"],
  );
  assert.equal(got.length, 2);
});

test("a refusal in headers or trailers keeps its reason", async () => {
  for (const refuse of ["refuse", "fail"] as const) {
    toy.will((call) => call[refuse](5, "no model", [[ErrorInfoSchema, { reason: "MODEL_NOT_FOUND" }]]));

    const error = await thrown(() => collect(generate()));
    assert.ok(error instanceof PromptmeshError && !(error instanceof StreamCutError));
    assert.equal(error.reason, "MODEL_NOT_FOUND");
  }
});

test("no server is no cut stream", async () => {
  toy.will((call) => call.cut());

  await assert.rejects(collect(generate()), { reason: "CONNECTION_FAILED" });
  assert.equal(toy.calls.length, 1);
});

test("a stream of raw bodies has no terminal event and needs none", async () => {
  toy.will(async (call) => {
    await call.send(HttpBodySchema, { data: new TextEncoder().encode("line\n") });
    await call.end();
  });
  assert.equal((await collect(mesh.usage.exportRequests({}))).length, 1);

  toy.will(async (call) => {
    await call.send(HttpBodySchema, { data: new TextEncoder().encode("line\n") });
    call.endWithoutTrailers();
  });
  assert.ok((await thrown(() => collect(mesh.usage.exportRequests({})))) instanceof StreamCutError);
});

test("who stops reading ends the call at the server", async () => {
  toy.will((call) => delta(call, "a"));

  for await (const _ of generate()) break;
  await toy.calls[0]?.gone;
});

test("the signal ends a stream, before and between messages", async () => {
  const controller = new AbortController();
  toy.will((call) => delta(call, "a"));

  const error = await thrown(async () => {
    for await (const _ of generate({ signal: controller.signal })) controller.abort();
  });
  assert.ok(error instanceof PromptmeshError);
  assert.equal(error.code, "CANCELLED");
  await toy.calls[0]?.gone;

  await assert.rejects(collect(generate({ signal: AbortSignal.abort() })), { code: "CANCELLED" });
});
