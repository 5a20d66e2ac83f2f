// The image viewer's bundle. Everything it needs (decoders in WebAssembly, workers) is bundled: nothing is
// fetched from elsewhere, and two builds of the same sources are byte-identical.
import { defineConfig } from 'vite';

/** The engine writes style attributes on its text boxes; our policy allows styles only through the object model. */
const stylesThroughTheObjectModel = {
  name: 'styles-through-the-object-model',
  transform(code, id) {
    if (!id.includes('@cornerstonejs') || !code.includes(".setAttribute('style',")) return null;
    return { code: code.replace(/\.setAttribute\('style',\s*([^;]+)\);/g, '.style.cssText = ($1);'), map: null };
  },
};

/**
 * Drawing by the processor, the engine makes its canvas in CSS pixels but reckons in device pixels, and the image lies
 * beside its place on a fine screen. One canvas pixel per CSS pixel is coarser there, but everything is where it is.
 */
const processorDrawsInCssPixels = {
  name: 'processor-draws-in-css-pixels',
  transform(code, id) {
    if (!id.endsWith('cpuFallback/rendering/cssPixelConversion.js')) return null;
    const changed = code.replace("(typeof window !== 'undefined' && window.devicePixelRatio) || 1", '1');
    if (changed === code) throw new Error('cornerstone changed cssPixelConversion.js: look whether this is still needed');
    return { code: changed, map: null };
  },
};

export default defineConfig({
  plugins: [stylesThroughTheObjectModel, processorDrawsInCssPixels],
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
