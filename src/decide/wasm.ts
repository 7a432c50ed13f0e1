import { createRequire } from 'node:module'
import { Unusable } from '../unusable.ts'

// The package's ES module leaves the synchronous loader out.
const { loadPolicySync } = createRequire(import.meta.url)('@open-policy-agent/opa-wasm') as {
  loadPolicySync(module: WebAssembly.Module, memory: { initial: number; maximum: number }): Instance
}

/**
 * What the host implements beside what is compiled in. Anything else a bundle needs would fail on the one
 * request that reaches it.
 */
const HOST_BUILTINS = new Set([
  'json.is_valid',
  'regex.split',
  'sprintf',
  'yaml.is_valid',
  'yaml.marshal',
  'yaml.unmarshal',
])

const FIRST_PAGES = 32
const MOST_PAGES = 8192
/** One huge input grows the memory for good; an instance beyond this over its start is made anew. */
const MOST_GROWTH = 64 * 1024 * 1024

const PAGE_BYTES = 64 * 1024

interface Instance {
  readonly mem: WebAssembly.Memory
  readonly entrypoints: { readonly [name: string]: number }
  /** Where the data is, and where it ends. */
  dataAddr: number
  dataHeapPtr: number
  evaluate(input: ArrayBuffer, entrypoint: string): unknown
  setData(data: ArrayBuffer): void
}

export interface Program {
  readonly entrypoints: readonly string[]
  /**
   * The result set: `[]` for undefined, else `[{ result }]`. Throws an Error whatever the program threw; is
   * usable again after it.
   */
  evaluate(input: ArrayBuffer, entrypoint: string): unknown
}

/**
 * A compiled policy with its data. Unusable when it is no OPA policy or needs a builtin that is not there.
 * Evaluation is synchronous and cannot be interrupted. An instance that threw is never asked again: an abort
 * leaks the stack it ran on.
 */
export function createProgram(wasm: Uint8Array, data: ArrayBuffer): Program {
  const module = compile(wasm)
  const first = instantiate(module, data)
  const again = copier(module, first)
  const startBytes = first.mem.buffer.byteLength
  let instance: Instance | undefined = first

  return {
    entrypoints: Object.keys(first.entrypoints),
    evaluate(input, entrypoint) {
      instance ??= again()
      try {
        const result = instance.evaluate(input, entrypoint)
        if (instance.mem.buffer.byteLength - startBytes > MOST_GROWTH) instance = undefined
        return result
      } catch {
        instance = undefined
        // The SDK throws strings and bare objects; their text may quote the input and is dropped.
        throw new Error('the policy threw')
      }
    },
  }
}

/**
 * New instances with the memory that this one has now: to load large data anew would hold up every check for
 * as long.
 */
function copier(module: WebAssembly.Module, { mem, dataAddr, dataHeapPtr }: Instance): () => Instance {
  const pages = mem.buffer.byteLength / PAGE_BYTES
  const image = new Uint8Array(mem.buffer.slice(0, dataHeapPtr))
  return () => {
    const copy = loadPolicySync(module, { initial: pages, maximum: MOST_PAGES })
    new Uint8Array(copy.mem.buffer).set(image)
    return Object.assign(copy, { dataAddr, dataHeapPtr })
  }
}

function compile(wasm: Uint8Array): WebAssembly.Module {
  try {
    return new WebAssembly.Module(wasm)
  } catch {
    throw new Unusable('its policy.wasm is not WebAssembly')
  }
}

function instantiate(module: WebAssembly.Module, data: ArrayBuffer): Instance {
  const { instance, missing } = link(module)
  if (missing.length > 0)
    throw new Unusable(`it needs builtins that are not available here: ${missing.toSorted().join(', ')}`)
  try {
    instance.setData(data)
  } catch {
    throw new Unusable('its data cannot be loaded: it holds half a surrogate pair, or needs over 512 MiB')
  }
  return instance
}

const OPA_EXPORTS = ['opa_wasm_abi_version', 'opa_wasm_abi_minor_version']

function link(module: WebAssembly.Module): { instance: Instance; missing: string[] } {
  try {
    // Of what is no policy the package would tell on standard error, beside our log and our message.
    const exported = new Set(WebAssembly.Module.exports(module).map(({ name }) => name))
    if (!OPA_EXPORTS.every(name => exported.has(name))) throw new Error('another program')
    const instance = loadPolicySync(module, { initial: FIRST_PAGES, maximum: MOST_PAGES })
    return { instance, missing: requiredBuiltins(instance).filter(name => !HOST_BUILTINS.has(name)) }
  } catch {
    throw new Unusable('its policy.wasm is not an OPA policy')
  }
}

interface Exports {
  builtins(): number
  opa_json_dump(address: number): number
}

function requiredBuiltins(instance: Instance): string[] {
  const { exports } = (instance as unknown as { wasmInstance: { exports: Exports } }).wasmInstance
  const start = exports.opa_json_dump(exports.builtins())
  // Only now: the call before may have grown the memory, which detaches the buffer it had.
  const memory = Buffer.from(instance.mem.buffer)
  const end = memory.indexOf(0, start)
  return Object.keys(JSON.parse(memory.toString('utf8', start, end)) as object)
}
