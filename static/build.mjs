// Builds what cannot be served as written: the image viewer's bundle and the icon sprite.
// Run through `python -m server.frontend`, which brings node and the locked packages.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const dist = join(here, 'dist');

/** One `<symbol>` per name in static/icons.txt, in that order of the alphabet; unknown names stop the build. */
async function buildIcons() {
  const list = await readFile(join(here, 'icons.txt'), 'utf8');
  const lines = list.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const names = [...new Set(lines.filter(Boolean))].sort();
  const symbols = await Promise.all(
    names.map(async (name) => {
      let svg;
      try {
        svg = await readFile(join(root, 'node_modules/lucide-static/icons', `${name}.svg`), 'utf8');
      } catch {
        throw new Error(`static/icons.txt names "${name}", which lucide-static does not have`);
      }
      const body = svg
        .replace(/<!--[\s\S]*?-->/g, '')
        .replace(/^[\s\S]*?<svg[^>]*>/, '')
        .replace(/<\/svg>\s*$/, '')
        .replace(/\s*\n\s*/g, '');
      return (
        `<symbol id="${name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" ` +
        `stroke-width="2" stroke-linecap="round" stroke-linejoin="round">${body}</symbol>`
      );
    }),
  );
  const sprite = `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join('\n')}\n</svg>\n`;
  // Written beside and renamed: a server that is running never serves half a file.
  await writeFile(join(dist, 'icons.svg.new'), sprite);
  await rename(join(dist, 'icons.svg.new'), join(dist, 'icons.svg'));
  return names.length;
}

await mkdir(dist, { recursive: true });
const count = await buildIcons();
console.log(`      front end: ${count} icons`);
await build({ configFile: join(root, 'vite.config.js'), root: join(here, 'viewer') });
console.log('      front end: image viewer bundled');
