// Looks at the explorer in a real browser: pictures in build/screenshots, and an error where it is not legible.
// `make screenshots` calls it with the environment's Python; it is skipped, with the reason, where something lacks.
const { spawn } = require("child_process");
const { randomUUID } = require("crypto");
const fs = require("fs");
const net = require("net");
const os = require("os");
const path = require("path");

const ROOT = path.dirname(__dirname);
const OUT = path.join(ROOT, "build", "screenshots");
const NPM = path.join("build", "npm"); // where npm may install without a change that git sees
const WIDTHS = [1000, 1200, 1400]; // pixels; legible from the first on
const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const FORMULA = "x*g + 0.1*maximum(0, sin(2*x)); g = sigmoid(2*x)";
const MINUTES = 60_000;

function skip(reason) {
  console.log(`make screenshots: skipped: ${reason}`);
  process.exit(0);
}

function demand(holds, what) {
  if (!holds) throw new Error(`wanted ${what}`);
}

function browser() {
  if (!fs.existsSync(CHROMIUM)) skip(`wanted ${CHROMIUM} (apt install chromium, or CHROMIUM=/path/to/it); came none`);
  try {
    return require(require.resolve("playwright-core", { paths: [path.join(ROOT, NPM), __dirname] })).chromium;
  } catch {
    skip(`wanted the package playwright-core (npm install --prefix ${NPM} playwright-core); came none`);
  }
}

const freePort = () => new Promise((done) => {
  const probe = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => done(port));
  });
});

async function serve(python, folder, options) {
  const [port, token] = [await freePort(), randomUUID()];
  const [settings, quiet] = [path.join(folder, "settings"), '{"fetchNews": "false", "checkForUpdates": false}'];
  fs.mkdirSync(path.join(settings, "@jupyterlab", "apputils-extension"), { recursive: true });
  fs.writeFileSync(path.join(settings, "@jupyterlab/apputils-extension/notification.jupyterlab-settings"), quiet);
  const own = { JUPYTER_CONFIG_DIR: path.join(folder, "config"), JUPYTER_DATA_DIR: path.join(folder, "data"),
    JUPYTERLAB_SETTINGS_DIR: settings };
  const server = spawn(python, ["-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", `--port=${port}`,
    "--ServerApp.port_retries=0", `--ServerApp.root_dir=${path.join(folder, "lab")}`, `--IdentityProvider.token=${token}`, ...options],
    { env: { ...process.env, ...own }, stdio: ["ignore", "ignore", fs.openSync(path.join(OUT, "server.log"), "w")] });
  for (let tries = 0; tries < 240; tries++) {
    const answer = await fetch(`http://127.0.0.1:${port}/api`).catch(() => null);
    if (answer?.ok) return { server, page: `http://127.0.0.1:${port}/lab/tree/explorer.ipynb?token=${token}` };
    await new Promise((done) => setTimeout(done, 250));
  }
  server.kill();
  throw new Error(`wanted a JupyterLab server; none answered in a minute (${OUT}/server.log)`);
}

// The faults of the panel as it is laid out: what is cut off, lies outside or under something else.
function faults() {
  const panel = document.querySelector(".widget-textarea").closest(".jp-OutputArea-output");
  const controls = [...panel.querySelectorAll("select, textarea, button, input[type=text], .widget-slider, img")];
  const shown = controls.filter((one) => one.offsetParent && one.getBoundingClientRect().width > 0);
  const boxes = shown.map((one) => one.getBoundingClientRect());
  const name = (one) => `${one.tagName} ${one.textContent.trim().slice(0, 20)}`;
  const found = [], edge = panel.getBoundingClientRect().right + 1;
  shown.forEach((one, i) => {
    if (boxes[i].right > edge) found.push(`${name(one)} ends outside of the panel`);
    boxes.slice(i + 1).forEach((b, j) => {
      const a = boxes[i], across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1) found.push(`${name(one)} lies over ${name(shown[i + 1 + j])}`);
    });
  });
  for (const text of panel.querySelectorAll(".widget-readout, .widget-label")) {
    const whole = text.closest(".jupyter-widgets").getBoundingClientRect(), own = text.getBoundingClientRect();
    const cut = text.scrollWidth > text.clientWidth + 1 || own.right > whole.right + 1 || own.width < 20;
    if (text.offsetParent && text.textContent && cut) found.push(`${name(text)} is cut off`);
  }
  const labels = [...panel.querySelectorAll(".widget-slider .widget-label")].map((one) => one.textContent);
  if (new Set(labels).size < labels.length) found.push(`two sliders of one name: ${labels}`);
  return found;
}

async function look(page) {
  const text = page.locator(".widget-textarea textarea"), words = page.locator(".jp-OutputArea .widget-html-content");
  const said = async (pattern) => (await words.allTextContents()).some((one) => pattern.test(one));
  const until = async (pattern, minutes = 3) => {
    for (const end = Date.now() + minutes * MINUTES; Date.now() < end; await page.waitForTimeout(100)) {
      if (await said(pattern)) return;
    }
    throw new Error(`wanted the panel to say ${pattern}; came ${await words.allTextContents()}`);
  };
  const pictures = async (state) => {
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForTimeout(500);
      await page.locator(".widget-dropdown").evaluate((one) => one.scrollIntoView());
      await page.screenshot({ path: path.join(OUT, `${state}_${width}.png`) });
      const found = await page.evaluate(faults);
      demand(found.length === 0, `a legible panel at ${width} pixels, ${state}; came: ${found.join("; ")}`);
      const save = await page.locator("button:text-is('Save')").boundingBox();
      demand(save && save.y > 0 && save.y + save.height < 870, `Save on the screen at ${width} pixels, ${state}`);
    }
    console.log(`${state}: legible, and in the pictures build/screenshots/${state}_*.png`);
  };

  const isIdle = () => page.evaluate(() => /Idle/.test(document.querySelector("#jp-main-statusbar").textContent));
  const idle = async () => {
    for (let quiet = 0, end = Date.now() + 10 * MINUTES; quiet < 8; await page.waitForTimeout(250)) {
      quiet = (await isIdle()) ? quiet + 1 : 0;
      demand(Date.now() < end, "an idle kernel after ten minutes");
    }
  };
  const type = async (typed, pattern) => {
    await text.fill(typed);
    await text.blur();
    await until(pattern);
    await idle();
  };

  await page.locator(".jp-Notebook .jp-Cell").first().waitFor({ timeout: MINUTES });
  await page.waitForTimeout(2000);
  await page.click(".lm-MenuBar-itemLabel:text('Run')");
  await page.click(".lm-Menu-itemLabel:text-is('Run All Cells')");
  console.log("Run All Cells was clicked; the panel comes within a minute or two");
  await text.waitFor({ timeout: 10 * MINUTES });
  await until(/Waiting until no cell runs; now runs: \w/);
  await pictures("waiting");
  await idle();
  await page.selectOption(".widget-dropdown select", "GELU-Sinc");
  await idle();
  await type(FORMULA, /oscillations 6/);
  await pictures("drawn");
  await page.click("button:text-is('Score')");
  await until(/Training/);
  await until(/place \d+ of/, 10);
  await page.fill(".widget-text input", "build/screenshots/candidate.py");
  await page.click("button:text-is('Save')");
  await until(/actlab score .*candidate\.py/);
  await pictures("scored");
  for (const [typed, hint] of [["x^2", /x \*\* 2/], ["ln(x)", /torch\.log/], ["max(0, x)", /maximum/]]) {
    await type(typed, hint);
  }
  await pictures("refused");
}

async function main(python) {
  const chromium = browser(), folder = fs.mkdtempSync(path.join(os.tmpdir(), "explorer-"));
  const root = process.getuid() === 0; // as in a container, where neither starts by itself
  fs.mkdirSync(OUT, { recursive: true });
  fs.mkdirSync(path.join(folder, "lab"));
  fs.copyFileSync(path.join(ROOT, "notebooks", "19_explorer.ipynb"), path.join(folder, "lab", "explorer.ipynb"));
  const { server, page: address } = await serve(python, folder, root ? ["--allow-root"] : []);
  try {
    const window = await chromium.launch({ executablePath: CHROMIUM, args: root ? ["--no-sandbox"] : [] });
    const page = await window.newPage({ viewport: { width: WIDTHS[0], height: 900 } });
    await page.goto(address);
    await look(page).catch(async (error) => {
      await page.screenshot({ path: path.join(OUT, "failed.png") });
      throw new Error(`${error.message.split("\n")[0]} (build/screenshots/failed.png shows it)`);
    });
    await window.close();
  } finally {
    server.kill();
    await new Promise((done) => server.on("exit", done));
    fs.rmSync(folder, { recursive: true, force: true });
  }
  console.log(`the explorer is legible at ${WIDTHS.join(", ")} pixels; pictures in build/screenshots`);
}

main(process.argv[2]).catch((error) => {
  console.error(`make screenshots: ${error.message}`);
  process.exit(1);
});
