// A session in text over the SDK of OpenAI for Node: a text, a call of a tool, an answer that is cancelled.
// Arguments: the base URL, a client secret. Prints one JSON line.
import OpenAI from "openai";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";

// The SDK dials wss: alone, and the server under test has no gateway with a certificate in front of it.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(String(url).replace(/^wss:/, "ws:"), protocols);
  }
};

const [baseURL, apiKey] = process.argv.slice(2);
const TOOL = { type: "function", name: "add", parameters: { type: "object", properties: { a: { type: "integer" } } } };
const said = (text) => ({ type: "message", role: "user", content: [{ type: "input_text", text }] });

async function talk(model, first, next) {
  const session = new OpenAIRealtimeWebSocket({ model }, new OpenAI({ baseURL, apiKey }));
  const ended = [];
  const deltas = [];
  const over = new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("response.output_text.delta", (event) => deltas.push(event.delta));
    session.on("response.done", (event) => {
      ended.push(event.response);
      if (!next?.(session, event.response, ended.length)) resolve();
    });
  });
  session.socket.addEventListener("open", () => first(session));
  await over;
  session.close();
  return { statuses: ended.map((each) => each.status), deltas };
}

const text = await talk("claude/scripted-n4", (session) => {
  session.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
  session.send({ type: "conversation.item.create", item: said("Hi") });
  session.send({ type: "response.create" });
});

const tools = await talk(
  "openai/scripted-tool-call-n3",
  (session) => {
    session.send({ type: "session.update", session: { type: "realtime", tools: [TOOL] } });
    session.send({ type: "conversation.item.create", item: said("Add") });
    session.send({ type: "response.create" });
  },
  (session, response, number) => {
    if (number > 1) return false;
    const call_id = response.output[0].call_id;
    session.send({ type: "conversation.item.create", item: { type: "function_call_output", call_id, output: "14" } });
    session.send({ type: "response.create" });
    return true;
  },
);

const cancelled = await talk("llama31/scripted-endless-d5", (session) => {
  session.once("response.output_text.delta", () => session.send({ type: "response.cancel" }));
  session.send({ type: "conversation.item.create", item: said("Go on") });
  session.send({ type: "response.create" });
});

console.log(JSON.stringify({ text, tools, cancelled: cancelled.statuses }));
