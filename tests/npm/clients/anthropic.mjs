// The `@anthropic-ai/sdk` package.

import Anthropic, { APIConnectionTimeoutError, APIError, APIUserAbortError } from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { PIXEL, run } from "./harness.mjs";

const City = z.object({ city: z.string(), people: z.number().int(), capital: z.boolean() });

class Messages {
  dialect = "messages";

  constructor({ url, key, model, timeoutMs }) {
    this.model = model;
    this.client = new Anthropic({ baseURL: url, apiKey: key, timeout: timeoutMs, maxRetries: 0 });
  }

  request({ text, image, tools = [], calls = [], outputs = [] }) {
    const seen = { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } };
    const content = [{ type: "text", text }, ...(image ? [seen] : [])];
    const use = (call) => ({ type: "tool_use", id: call.id, name: call.name, input: JSON.parse(call.arguments) });
    const uses = calls.map(use);
    const results = outputs.map((output, at) => ({ type: "tool_result", tool_use_id: calls[at].id, content: output }));
    const trip = calls.length ? [{ role: "assistant", content: uses }, { role: "user", content: results }] : [];
    const named = ({ name, description, parameters }) => ({ name, description, input_schema: parameters });
    const messages = [{ role: "user", content }, ...trip];
    return { model: this.model, max_tokens: 1024, messages, ...(tools.length ? { tools: tools.map(named) } : {}) };
  }

  async ask(question) {
    return this.answer(await this.client.messages.create(this.request(question), { signal: question.signal }));
  }

  async *stream(question) {
    const stream = this.client.messages.stream(this.request(question), { signal: question.signal });
    for await (const event of stream) {
      if (event.type === "content_block_delta" && event.delta.type === "text_delta") yield event.delta.text;
    }
    yield this.answer(await stream.finalMessage());
  }

  async models() {
    return (await Array.fromAsync(this.client.models.list())).map((model) => model.id);
  }

  async count(text) {
    const messages = [{ role: "user", content: text }];
    return (await this.client.messages.countTokens({ model: this.model, messages })).input_tokens;
  }

  async parse(text) {
    const output_config = { format: zodOutputFormat(City) };
    return (await this.client.messages.parse({ ...this.request({ text }), output_config })).parsed_output;
  }

  failure(error) {
    if (!(error instanceof APIError) || !error.status) return undefined;
    return { status: error.status, code: error.error?.error?.type, retryAfter: error.headers?.get("retry-after") };
  }

  timedOut(error) {
    return error instanceof APIConnectionTimeoutError;
  }

  left(error) {
    return error instanceof APIUserAbortError;
  }

  answer({ content, usage }) {
    const text = content.filter((block) => block.type === "text").map((block) => block.text).join("");
    const calls = content
      .filter((block) => block.type === "tool_use")
      .map(({ id, name, input }) => ({ id, name, arguments: JSON.stringify(input) }));
    return { text, calls, usage: [usage.input_tokens, usage.output_tokens] };
  }
}

await run((settings) => new Messages(settings));
