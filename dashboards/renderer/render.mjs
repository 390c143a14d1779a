// node render.mjs --prometheus URL --boards DIR --out DIR [--board NAME]... [--theme light|dark]... [--from T --to T]
//   [--var name=value]... [--open] [--width 1600] [--prefix TEXT]
// Draws dashboards in Chromium: a PNG and a JSON of what each panel shows for every board and theme.
import { build } from 'esbuild';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import puppeteer from 'puppeteer-core';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const DRAWN_WITHIN = 120_000;

const { values: flags } = parseArgs({
  options: {
    prometheus: { type: 'string' }, boards: { type: 'string' }, out: { type: 'string' }, board: { type: 'string', multiple: true },
    theme: { type: 'string', multiple: true }, from: { type: 'string' }, to: { type: 'string' }, var: { type: 'string', multiple: true },
    open: { type: 'boolean' }, width: { type: 'string', default: '1600' }, prefix: { type: 'string', default: '' },
  },
});
for (const need of ['prometheus', 'boards', 'out']) {
  if (!flags[need]) throw new Error(`--${need} is needed`);
}

// The page, bundled once per version of the sources.
async function bundle() {
  const sources = ['package-lock.json', ...fs.readdirSync(path.join(HERE, 'src')).map((name) => `src/${name}`)].map((name) => path.join(HERE, name));
  const out = path.join(HERE, 'dist', 'page.js');
  const newest = Math.max(...sources.map((name) => fs.statSync(name).mtimeMs));
  if (fs.existsSync(out) && fs.statSync(out).mtimeMs > newest) return path.dirname(out);
  await build({
    entryPoints: { page: path.join(HERE, 'src', 'board.jsx') }, outdir: path.dirname(out), bundle: true, format: 'esm', jsx: 'automatic', logLevel: 'error',
    loader: { '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl', '.svg': 'dataurl' }, define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  });
  return path.dirname(out);
}

// Where Grafana's styles look for its fonts.
const FONTS = {
  '/public/fonts/inter/Inter-Regular.woff2': 'inter/files/inter-latin-400-normal.woff2',
  '/public/fonts/inter/Inter-Italic.woff2': 'inter/files/inter-latin-400-italic.woff2',
  '/public/fonts/inter/Inter-Medium.woff2': 'inter/files/inter-latin-500-normal.woff2',
  '/public/fonts/roboto/RobotoMono-Regular.woff2': 'roboto-mono/files/roboto-mono-latin-400-normal.woff2',
};

const TYPES = { '.woff2': 'font/woff2', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };

function file(response, name) {
  if (!fs.existsSync(name)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { 'content-type': TYPES[path.extname(name)] ?? 'application/octet-stream' });
  fs.createReadStream(name).pipe(response);
}

// The page, the dashboards, the icons, and a way to Prometheus under one address.
function serve(dist) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/prometheus/')) {
      const target = new URL(flags.prometheus.replace(/\/$/, '') + request.url.slice('/prometheus'.length));
      const asked = http.request(target, { method: request.method, headers: { ...request.headers, host: target.host } }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      asked.on('error', () => response.writeHead(502).end());
      request.pipe(asked);
    } else if (pathname === '/') {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css"><div id="root"></div><script type="module" src="/page.js"></script>');
    } else if (pathname.startsWith('/board/')) {
      file(response, path.join(flags.boards, path.basename(pathname)));
    } else if (FONTS[pathname]) {
      file(response, path.join(HERE, 'node_modules/@fontsource', FONTS[pathname]));
    } else if (pathname.startsWith('/public/')) {
      // Grafana's icons are where its server would have them.
      const icon = pathname.replace(/^\/public\/(build\/)?img\//, '');
      file(response, path.join(HERE, 'node_modules/@grafana/ui/dist/public/img', path.normalize(icon)));
    } else {
      file(response, path.join(dist, path.basename(pathname)));
    }
  });
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server)); });
}

async function draw(browser, base, board, theme) {
  const page = await browser.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error.message ?? error)));
  page.on('console', (message) => { if (message.type() === 'error') problems.push(`${message.text()} ${message.location()?.url ?? ''}`.trim()); });
  page.on('requestfailed', (request) => problems.push(`${request.url()}: ${request.failure()?.errorText}`));
  const width = Number(flags.width);
  if (/^\d+$/.test(flags.to ?? '')) {
    // "Three hours ago" is measured from the end of what is shown.
    await page.evaluateOnNewDocument((end) => {
      const Real = Date;
      globalThis.Date = class extends Real {
        constructor(...parts) { super(...(parts.length ? parts : [end])); }
        static now() { return end; }
      };
    }, Number(flags.to));
  }
  const query = new URLSearchParams({ board: `${board}.json`, theme, width });
  if (flags.open) query.set('open', '1');
  for (const key of ['from', 'to']) if (flags[key]) query.set(key, flags[key]);
  for (const pair of flags.var ?? []) query.append(`var-${pair.split('=')[0]}`, pair.slice(pair.indexOf('=') + 1));
  try {
    await page.setViewport({ width, height: 6000 });
    await page.goto(`${base}/?${query}`, { waitUntil: 'domcontentloaded' });
    await page.waitForFunction('window.__report || window.__failure', { timeout: DRAWN_WITHIN, polling: 200 });
    const failure = await page.evaluate('window.__failure');
    if (failure) throw new Error(`${board}: ${failure}`);
    const report = await page.evaluate('window.__report');
    const name = path.join(flags.out, `${flags.prefix}${board}-${theme}`);
    // Many layers that scroll are more than Chromium paints at once: tables would be blank.
    await page.addStyleTag({ content: '[role=grid] { overflow: clip !important; }' });
    const shown = await page.$('#board');
    await shown.screenshot({ path: `${name}.png`, captureBeyondViewport: true });
    fs.writeFileSync(`${name}.json`, JSON.stringify({ ...report, theme, width, console: problems }, null, 1));
    return `${name}.png`;
  } finally {
    await page.close();
  }
}

const chromium = process.env.CHROMIUM ?? CHROMIUM.find((name) => fs.existsSync(name));
if (!chromium) throw new Error('no Chromium is installed (on Debian or Ubuntu: apt-get install chromium), and CHROMIUM names none');
fs.mkdirSync(flags.out, { recursive: true });
const boards = flags.board ?? fs.readdirSync(flags.boards).filter((name) => /^delivery-.*\.json$/.test(name)).map((name) => path.basename(name, '.json'));
const server = await serve(await bundle());
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'board-renderer-'));
let browser;
try {
  browser = await puppeteer.launch({
    executablePath: chromium, userDataDir: profile, protocolTimeout: DRAWN_WITHIN + 60_000,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--force-color-profile=srgb'],
  });
  const base = `http://127.0.0.1:${server.address().port}`;
  for (const board of boards) {
    for (const theme of flags.theme ?? ['light']) console.log(await draw(browser, base, board, theme));
  }
} finally {
  await browser?.close();
  server.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
