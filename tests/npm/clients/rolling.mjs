// Asks one question after the other on one socket of the unmodified SDK, which reconnects as it is told: url, key, model, count.
import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const [baseURL, apiKey, model, count] = process.argv.slice(2);
const ENDS = ["response.completed", "response.incomplete", "response.failed"];
let number = 0;
let asked, id, last;

const socket = new ResponsesWS(new OpenAI({ baseURL, apiKey }), {
  reconnect: {
    maxRetries: 20,
    initialDelay: 100,
    onReconnecting({ attempt }) {
      if (id) return { parameters: { resume: id, starting_after: last } };
      if (attempt === 1) socket.send(asked); // waits for the connection; its key makes it the same one
      return { parameters: undefined };
    },
  },
});

function ask() {
  if (++number > Number(count)) return socket.close();
  [id, last] = [null, -1];
  const chatbackend = { idempotency_key: crypto.randomUUID() };
  asked = { type: "response.create", model, input: "say on", stream_id: `question-${number}`, chatbackend };
  socket.send(asked);
}

socket.on("error", (error) => console.error(error.message));
socket.on("event", (event) => {
  if (event.stream_id !== `question-${number}` || !(event.sequence_number > last)) {
    if (event.type === "error") throw new Error(JSON.stringify(event));
    return;
  }
  last = event.sequence_number;
  if (event.type === "response.created") id = event.response.id;
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
  if (ENDS.includes(event.type)) {
    process.stdout.write("\n");
    if (event.type !== "response.completed") process.exitCode = 3;
    ask();
  }
});
ask();
