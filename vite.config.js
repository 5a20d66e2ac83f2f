// The image viewer's bundle. Everything it needs (decoders in WebAssembly, workers) is bundled: nothing is
// fetched from elsewhere, and two builds of the same sources are byte-identical.
import { defineConfig } from 'vite';

export default defineConfig({
  root: 'static/viewer',
  // Where the server serves the bundle; workers and .wasm files are found relative to it.
  base: '/static/dist/viewer/',
  publicDir: false,
  logLevel: 'warn',
  // The decoders' glue mentions node's file system behind a check for node; the browser never gets there.
  resolve: { alias: { fs: '/empty.js', path: '/empty.js', url: '/empty.js' } },
  worker: { format: 'es', rolldownOptions: { checks: { bundlerTimings: false } } },
  build: {
    outDir: '../dist/viewer',
    emptyOutDir: true,
    assetsInlineLimit: 0, // data: URLs would need a wider content security policy
    modulePreload: false,
    target: 'es2022',
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 8000,
    rolldownOptions: {
      input: 'static/viewer/main.js',
      preserveEntrySignatures: 'strict',
      checks: { bundlerTimings: false },
      output: {
        format: 'es',
        entryFileNames: 'viewer.js',
        chunkFileNames: 'chunk-[name]-[hash].js',
        assetFileNames: '[name]-[hash][extname]',
      },
    },
  },
});
