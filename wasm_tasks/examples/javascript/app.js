// A task in JavaScript: counts the primes below `limit`, `chunk` numbers a subtask.

import host from "processdistro:task/host@1.0.0";

const DEFAULTS = { limit: 20000, chunk: 5000 };

const read = (params) => ({ ...DEFAULTS, ...JSON.parse(params) });

function isPrime(number) {
  if (number < 4) return number > 1;
  if (number % 2 === 0) return false;
  for (let divisor = 3; divisor * divisor <= number; divisor += 2) {
    if (number % divisor === 0) return false;
  }
  return true;
}

export const contract = {
  plan(params) {
    const { limit, chunk } = read(params);
    return { subtasks: Math.ceil(limit / chunk), mediaType: "text/plain", goal: null, state: new Uint8Array() };
  },

  run(params, index) {
    const { limit, chunk } = read(params);
    const first = index * chunk;
    let count = 0;
    for (let number = first; number < Math.min(limit, first + chunk); number++) count += isPrime(number) ? 1 : 0;
    const output = new Uint8Array(8);
    new DataView(output.buffer).setUint32(0, count, true);
    return output;
  },

  merge(params, subtasks) {
    let sum = 0;
    for (let index = 0; index < subtasks; index++) {
      const size = host.partSize(index);
      if (size === null) throw { tag: "permanent", val: `index ${index} has no output` };
      const part = host.readPart(index, 0, size);
      sum += new DataView(Uint8Array.from(part).buffer).getUint32(0, true);
    }
    const text = `${sum}\n`;
    host.writeResult(Uint8Array.from(text, (letter) => letter.charCodeAt(0)));
  },
};
