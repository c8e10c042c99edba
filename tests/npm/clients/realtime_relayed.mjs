// A relayed session: sound that is heard, and a tool of the client's that the answer waits for.
// Arguments: `sdk`, `azure`, `browser`, `azure-browser` or `agents`, the address of `/v1`, a key, a model (for Azure a
// deployment) that calls tools. Prints one JSON line.
import net from "node:net";

import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import OpenAI, { AzureOpenAI } from "openai";
import { OpenAIRealtimeWebSocket as BrowserSocket } from "openai/realtime/websocket";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [kind, baseURL, apiKey, model] = process.argv.slice(2);
const SOUND = Buffer.alloc(4800, 1); // a tenth of a second
const PARAMETERS = {
  type: "object",
  properties: { query: { type: "string" } },
  required: ["query"],
  additionalProperties: false,
};
const called = [];
const heard = { transcript: null, text: "", called };
const note = (event) => {
  if (event.type === "conversation.item.input_audio_transcription.completed") heard.transcript = event.transcript;
  if (event.type === "response.output_text.delta") heard.text += event.delta;
};
const answered = (event) =>
  event.type === "response.done" && event.response.output.some((item) => item.type === "message");

// The SDK dials wss: alone: where the server under test has no certificate, the connection beneath is a plain one.
const plain = { createConnection: ({ host, port }) => net.connect({ host, port }) };
const options = baseURL.startsWith("https:") ? {} : plain;
const client = () => new OpenAI({ baseURL, apiKey });
const azure = () => new AzureOpenAI({ endpoint: new URL(baseURL).origin, apiKey, apiVersion: "2025-08-28", deployment: model });

const programs = {
  sdk: () => talk(new OpenAIRealtimeWS({ model, options }, client())),
  azure: async () => talk(await OpenAIRealtimeWS.azure(azure(), { options })),
  browser: () => talk(new BrowserSocket({ model }, client())),
  "azure-browser": async () => talk(await BrowserSocket.azure(azure())),
  agents: async () => {
    const run = async ({ query }) => (called.push(query), "found");
    const lookUp = tool({ name: "look_up", description: "Look up.", parameters: PARAMETERS, strict: false, execute: run });
    const transport = new OpenAIRealtimeWebSocket({ url: address() });
    const session = new RealtimeSession(new RealtimeAgent({ name: "desk", tools: [lookUp] }), { transport, model });
    const over = new Promise((resolve, reject) => {
      session.on("error", ({ error }) => reject(new Error(JSON.stringify(error))));
      session.on("transport_event", (event) => (note(event), answered(event) && resolve()));
    });
    await session.connect({ apiKey, model, url: address() });
    session.sendAudio(SOUND.buffer.slice(SOUND.byteOffset, SOUND.byteOffset + SOUND.length), { commit: true });
    transport.sendEvent({ type: "response.create" });
    await over;
    session.close();
  },
};

function talk(session) {
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    session.on("event", (event) => {
      note(event);
      if (event.type === "session.created") {
        const lookUp = { type: "function", name: "look_up", parameters: PARAMETERS };
        session.send({ type: "session.update", session: { type: "realtime", tools: [lookUp] } });
        session.send({ type: "input_audio_buffer.append", audio: SOUND.toString("base64") });
        session.send({ type: "input_audio_buffer.commit" });
        session.send({ type: "response.create" });
      }
      if (answered(event)) session.close(), resolve();
      else if (event.type === "response.done") answer(session, event.response.output[0]);
    });
  });
}

function answer(session, call) {
  called.push(JSON.parse(call.arguments).query);
  const item = { type: "function_call_output", call_id: call.call_id, output: "found" };
  session.send({ type: "conversation.item.create", item });
  session.send({ type: "response.create" });
}

function address() {
  return `${baseURL.replace(/^http/, "ws")}/realtime?model=${encodeURIComponent(model)}`;
}

await programs[kind]();
console.log(JSON.stringify(heard));
process.exit(0); // clients keep timers, which nobody waits for
