"""Runs canisters compiled to WebAssembly: the system interface of the IC on wasmtime (extra ``icwsgw[wasm]``)."""
