// What the JavaScript conformance program reports: one line for each operation.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

export const account = process.env.AZURE_BATCH_ACCOUNT;
export const key = process.env.AZURE_BATCH_ACCESS_KEY;
export const endpoint = process.env.AZURE_BATCH_ENDPOINT;
export const pagedTasks = Number(process.env.BATCHYARD_CONFORMANCE_TASKS ?? 2500);
/** Bodies with every property that the service knows, and what may be absent when one is read. */
export const everything = JSON.parse(readFileSync(new URL("everything.json", import.meta.url), "utf8"));
const patience = Number(process.env.BATCHYARD_CONFORMANCE_PATIENCE ?? 60) * 1000;

/** The service's error code, undefined for errors of other kinds. */
export const codeOf = (error) => error?.body?.code ?? (/^[A-Z]\w+$/.test(error?.code ?? "") ? error.code : undefined);

/** Prints operation, client, pass or fail, and a reason, separated by tabs. An operation is reported once. */
export class Report {
  constructor(client) {
    this.client = client;
    this.run = randomBytes(4).toString("hex");
    this.failed = 0;
  }

  name(what) {
    return `conf-${what}-${this.run}`;
  }

  line(operation, passed, reason) {
    this.failed += passed ? 0 : 1;
    console.log([operation, this.client, passed ? "pass" : "fail", String(reason).replace(/\s+/g, " ").slice(0, 300)].join("\t"));
  }

  /** Reports call, which must succeed or, given codes, be refused with one of them. Resolves to its result. */
  async operation(operation, call, refusedWith = []) {
    let result;
    try {
      result = await call();
    } catch (error) {
      const code = codeOf(error);
      const documented = refusedWith.includes(code);
      this.line(operation, documented, documented ? `refused as documented: ${code}` : `${error?.name}: ${code ?? error?.message ?? error}`);
      return undefined;
    }
    this.line(operation, refusedWith.length === 0, refusedWith.length === 0 ? "" : `succeeded, though it must be refused with ${refusedWith.join(" or ")}`);
    return result;
  }
}

/** Fails unless call is refused with code. */
export async function expectCode(code, call) {
  try {
    await call();
  } catch (error) {
    if (codeOf(error) !== code) throw new Error(`refused with ${codeOf(error) ?? error}, not ${code}`);
    return;
  }
  throw new Error(`not refused with ${code}`);
}

/** Polls until ready resolves to something true, and resolves to that. */
export async function wait(what, ready) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await ready();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patience / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export function equal(got, want, what) {
  if (!isDeepStrictEqual(got, want)) throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
}

export function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** The paths of what was sent and does not read back as it was sent. */
function unlike(sent, got, path = "") {
  if (/\/(password|accountKey|sasKey)$/.test(path)) return got ? [path] : []; // never shown
  if (got instanceof Date) got = got.toISOString();
  if (Array.isArray(sent) && Array.isArray(got) && sent.length === got.length) return sent.flatMap((item, i) => unlike(item, got[i], `${path}/${i}`));
  const objects = [sent, got].every((v) => v && typeof v === "object" && !Array.isArray(v));
  if (objects) return Object.keys(sent).flatMap((name) => unlike(sent[name], got[name], `${path}/${name}`));
  return isDeepStrictEqual(sent, got) ? [] : [`${path}: ${JSON.stringify(got)}, not ${JSON.stringify(sent)}`];
}

/** Fails unless what was sent is read back, and all that a client knows of is there but for what may be absent. */
export function readBack(kind, sent, got, known) {
  equal(unlike(sent, got), [], `properties of the ${kind}`);
  const absent = known.filter((name) => got[name] === undefined && !everything.absent[kind].includes(name));
  equal(absent.sort(), [], `absent properties of the ${kind}`);
}

/** The body of a pool as api-versions before 2025-06-01 have it. */
export function older(pool) {
  const copy = structuredClone(pool);
  for (const disk of copy.virtualMachineConfiguration.dataDisks) {
    disk.storageAccountType = disk.managedDisk.storageAccountType;
    delete disk.managedDisk;
  }
  return copy;
}

/** A body with the one member that this client knows by a name of its own: the user of a registry. */
export function named(value) {
  if (Array.isArray(value)) return value.map(named);
  if (value === null || typeof value !== "object") return value;
  const own = "registryServer" in value;
  return Object.fromEntries(Object.entries(value).map(([name, v]) => [own && name === "username" ? "userName" : name, named(v)]));
}

/** Every item of a paged list: next is given the link in odatanextLink. */
export async function all(first, next) {
  const items = [...first];
  for (let link = first.odatanextLink; link; ) {
    const page = await next(link);
    items.push(...page);
    link = page.odatanextLink;
  }
  return items;
}
