// table.py in JavaScript.
import { readFileSync } from "node:fs";
import OpenAI, { toFile } from "openai";

async function outcome(sdk, what, given) {
  if (what === "create") {
    const { picture, ...asked } = given;
    if (picture) asked.input_reference = await toFile(readFileSync(picture), "picture.png", { type: "image/png" });
    const made = await sdk.videos.create(asked);
    const seen = await sdk.videos.retrieve(made.id);
    const same = seen.size === made.size && seen.seconds === made.seconds;
    return [made.status, made.size, made.seconds, made.model, same];
  }
  if (what === "retrieve") return (await sdk.videos.retrieve(given)).id;
  if (what === "download") {
    const made = await sdk.videos.create({ prompt: given });
    return (await (await sdk.videos.downloadContent(made.id)).arrayBuffer()).byteLength;
  }
  if (what === "list") {
    let found = 0;
    for await (const _ of sdk.videos.list({ limit: given })) found += 1;
    return found;
  }
  if (what === "delete") return (await sdk.videos.delete((await sdk.videos.list()).data[0].id)).deleted;
  return (await sdk.withOptions({ apiKey: given }).videos.retrieve("video_1")).id;
}

const sdk = new OpenAI({ baseURL: process.argv[2], apiKey: process.argv[3], maxRetries: 0 });
const told = [];
for (const [what, given] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    told.push(await outcome(sdk, what, given));
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    told.push({ error: error.constructor.name, status: error.status, code: error.code, param: error.param });
  }
}
console.log(JSON.stringify(told));
