/** As much of the WebAssembly API as is used here; its full types come only with those of a browser. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
    static exports(module: Module): { readonly name: string }[]
  }
  interface Memory {
    readonly buffer: ArrayBuffer
  }
}
