// The server `@runpod/mcp-server` as it is, driven over its own stdio: each line of standard input is a tool's name and
// its arguments, `[name, {…}]`, and each line of standard output what it answered.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

const manifest = createRequire(import.meta.url).resolve("@modelcontextprotocol/sdk/client/index.js");
const modules = manifest.slice(0, manifest.indexOf("node_modules") + "node_modules".length);
const server = join(dirname(join(modules, "x")), "@runpod/mcp-server/dist/stdio.mjs");

const transport = new StdioClientTransport({ command: process.execPath, args: [server], env: process.env, stderr: "inherit" });
const client = new Client({ name: "runyard-test", version: "1" });
await client.connect(transport);

const { tools } = await client.listTools();
console.log(JSON.stringify(tools.map((tool) => tool.name)));
for await (const line of createInterface({ input: process.stdin })) {
  const [name, given] = JSON.parse(line);
  const answer = await client.callTool({ name, arguments: given });
  const text = answer.content.map((part) => part.text).join("");
  console.log(JSON.stringify({ error: answer.isError === true, text }));
}
await client.close();
