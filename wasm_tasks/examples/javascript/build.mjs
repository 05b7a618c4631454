// Makes a component of app.js: `node build.mjs primes.wasm`. Needs `npm install componentize-qjs@0.4.5`
// in the folder where the command is given, or above it.

import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? "primes.wasm";

// The tool is looked for where the command is given, so that nothing need be installed into this folder.
const tool = createRequire(join(process.cwd(), "here.js"))("componentize-qjs");

/** A number as WebAssembly writes lengths. */
const leb = (number) => (number < 128 ? [number] : [(number & 127) | 128, ...leb(number >> 7)]);

function section(name, data) {
  const body = Buffer.concat([Buffer.from(leb(name.length)), Buffer.from(name), data]);
  return Buffer.concat([Buffer.from([0, ...leb(body.length)]), body]);
}

const jsPath = join(here, "app.js");
const { component } = await tool.componentize({
  witPath: join(here, "../../abi/wit/task.wit"),
  world: "task",
  jsSource: readFileSync(jsPath, "utf8"),
  jsPath,
  moduleRoot: here,
  stubWasi: true,
  optSize: true,
  sync: true,
});
writeFileSync(output, component);
appendFileSync(output, section("processdistro:task", readFileSync(join(here, "task.json"))));
