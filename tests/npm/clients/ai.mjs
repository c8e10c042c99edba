// Vercel's AI SDK, which makes the calls of its tools itself: `ai.mjs [openai|compatible|anthropic|azure]`.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createAzure } from "@ai-sdk/azure";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { PIXEL, run } from "./harness.mjs";

const City = z.object({ city: z.string(), people: z.number().int(), capital: z.boolean() });

const MODELS = {
  openai: {
    responses: ({ url, key, model }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).responses(model),
    chat: ({ url, key, model }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(model),
  },
  compatible: {
    chat: ({ url, key, model }) => {
      const features = { includeUsage: true, supportsStructuredOutputs: true };
      return createOpenAICompatible({ name: "ours", baseURL: `${url}/v1`, apiKey: key, ...features })(model);
    },
  },
  anthropic: {
    messages: ({ url, key, model }) => createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(model),
  },
  azure: {
    responses: ({ url, key, model }) => createAzure({ baseURL: `${url}/openai/v1`, apiKey: key }).responses(model),
    chat: ({ url, key, model }) => {
      const dated = { useDeploymentBasedUrls: true, apiVersion: "2025-04-01-preview" };
      return createAzure({ baseURL: `${url}/openai`, apiKey: key, ...dated }).chat(model);
    },
  },
};

class Driver {
  constructor(dialect, settings) {
    this.dialect = dialect;
    const { timeoutMs } = settings;
    this.options = { model: MODELS[process.argv[2]][dialect](settings), maxRetries: 0, timeout: timeoutMs };
  }

  request({ text, image, signal }) {
    const seen = { type: "file", data: PIXEL, mediaType: "image/png" };
    const content = [{ type: "text", text }, ...(image ? [seen] : [])];
    return { ...this.options, messages: [{ role: "user", content }], abortSignal: signal };
  }

  async ask(question) {
    return this.answer(await generateText(this.request(question)));
  }

  async *stream(question) {
    let failure;
    const result = streamText({
      ...this.request(question),
      onError: ({ error }) => {
        failure = error;
      },
    });
    for await (const piece of result.textStream) yield piece;
    if (failure) throw failure;
    yield this.answer({ text: await result.text, totalUsage: await result.totalUsage });
  }

  async parse(text) {
    // Which of its ways a model has it knows by names of Anthropic's; ours has this one under any name.
    const providerOptions = { anthropic: { structuredOutputMode: "outputFormat" } };
    const output = Output.object({ schema: City });
    return (await generateText({ ...this.request({ text }), output, providerOptions })).output;
  }

  async useTools(text, tools) {
    const made = tools.map(({ name, description, parameters, run }) => [
      name,
      tool({ description, inputSchema: jsonSchema(parameters), execute: ({ place }) => run(place) }),
    ]);
    const loop = { ...this.request({ text }), tools: Object.fromEntries(made), stopWhen: stepCountIs(3) };
    return this.answer(await generateText(loop));
  }

  failure(error) {
    if (!APICallError.isInstance(error)) return undefined;
    const { error: said } = JSON.parse(error.responseBody ?? "{}");
    const code = this.dialect === "messages" ? said?.type : said?.code;
    return { status: error.statusCode, code, retryAfter: error.responseHeaders?.["retry-after"] };
  }

  timedOut(error) {
    return error.name === "TimeoutError";
  }

  left(error) {
    return error.name === "AbortError";
  }

  answer({ text, totalUsage }) {
    return { text, calls: [], usage: [totalUsage.inputTokens, totalUsage.outputTokens] };
  }
}

await run(...Object.keys(MODELS[process.argv[2]]).map((dialect) => (settings) => new Driver(dialect, settings)));
