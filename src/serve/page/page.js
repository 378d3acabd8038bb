/* page.js - the page of dcam serve: sends photographs to /detect, draws photograph, anomaly map and outlines, and keeps
 * a table of the last verdicts. No library, nothing from elsewhere; photographs stay in this tab. */
'use strict';

const kept = 50;            // rows of the table
const liveEvery = 250;      // least milliseconds between two pictures of the camera
const $ = (id) => document.getElementById(id);
const pending = [];         // photographs that wait to be sent
const rows = [];            // the newest first
const times = [];           // when the last verdicts came, for the throughput
let sending = false, selected = null, stream = null, sequence = 0, models = [];

/* ---- colours: those of the overlays of `dcam detect` (src/image/overlay.c) ---- */

const anchors = [[66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84], [221, 81, 58], [243, 120, 25], [252, 165, 10],
  [246, 215, 70], [252, 255, 164]];

function colourOf(t) {
  const at = t * (anchors.length - 1), a = Math.min(Math.floor(at), anchors.length - 2), w = at - a;
  return anchors[a].map((v, c) => Math.round(v + (anchors[a + 1][c] - v) * w));
}
const palette = Array.from({length: 256}, (_, i) => [...colourOf(i / 255), Math.round(255 * (1 - (1 - i / 255) ** 2))]);

/* The map as a picture of its own size; what is normal is transparent. */
function drawMap(map) {
  const bytes = Uint8Array.from(atob(map.float32), (c) => c.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  const picture = new ImageData(map.width, map.height);
  for (let i = 0; i < values.length; i++) {
    const t = (values[i] - map.low) / (map.high - map.low);
    picture.data.set(palette[Math.max(0, Math.min(255, Math.round(255 * t) || 0))], 4 * i);
  }
  const canvas = document.createElement('canvas');
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext('2d').putImageData(picture, 0, 0);
  return canvas;
}

/* ---- the server ---- */

function headers() {
  const token = $('token').value.trim();
  return token ? {Authorization: `Bearer ${token}`} : {};
}

function say(text, bad) {
  $('state').textContent = text;
  $('state').className = bad ? 'bad' : '';
}

async function connect() {
  try {
    const answer = await fetch('v2/models', {headers: headers()});
    if (answer.status === 401) {
      $('token-label').hidden = false;
      say('a token is needed', true);
      $('token').focus();
      return;
    }
    models = (await answer.json()).models;
  } catch {
    say('the server does not answer', true);
    return;
  }
  $('model').replaceChildren(...models.map((m) => new Option(m.name, m.name)));
  $('model-label').hidden = models.length < 2;
  fillClasses();
  say('ready');
}

function fillClasses() {
  const model = models.find((m) => m.name === $('model').value);
  const names = model ? model.classes : [];
  const first = names.length > 1 ? [new Option('recognised', '')] : [];
  $('class').replaceChildren(...first, ...names.map((n) => new Option(n, n)));
}

async function detect(photo) {
  const query = new URLSearchParams({map: 'float32', model: photo.model || $('model').value});
  if (photo.class) query.set('class', photo.class);
  const begun = performance.now();
  const answer = await fetch(`detect?${query}`, {method: 'POST', body: photo.blob,
    headers: {...headers(), 'Content-Type': photo.blob.type || 'application/octet-stream'}});
  const body = await answer.json();
  return {...body, status: answer.status, latency: performance.now() - begun};
}

/* ---- photographs in, verdicts out ---- */

/* A photograph that waits is judged as was chosen when it came, whatever is chosen meanwhile. */
function add(blob, name) {
  const fixed = $('class').options.length > 1 ? $('class').value : '';
  pending.push({blob, name, model: $('model').value, class: fixed});
  send();
}

async function send() {
  if (sending) return;
  sending = true;
  while (pending.length > 0) {
    say(pending.length > 1 ? `${pending.length} to go` : 'inspecting');
    try {
      await inspect(pending.shift());
    } catch (e) {
      say(e.message, true); // and the next one has its turn
    }
  }
  sending = false;
}

async function inspect(photo) {
  const row = {key: ++sequence, name: photo.name, at: new Date()};
  let wrong = 'the file cannot be read (any more)';
  try {
    /* Once: a file that changes meanwhile must not be shown with a verdict on what it was. */
    photo.blob = new Blob([await photo.blob.arrayBuffer()], {type: photo.blob.type});
    wrong = 'the server does not answer';
    const result = await detect(photo);
    wrong = 'the answer cannot be shown';
    if (result.error) {
      row.error = result.error;
      if (result.status === 401) $('token-label').hidden = false;
    } else {
      row.bitmap = await bitmapOf(await unturned(photo.blob), result);
      row.map = drawMap(result.map);
      row.thumbnail = thumbnail(row);
      result.map = null;
      times.push(performance.now());
      row.result = result; // last: a row has all of it or an error
    }
  } catch {
    row.error = wrong;
  }
  rows.unshift(row);
  for (const old of rows.splice(kept)) if (old.bitmap && old.bitmap.close) old.bitmap.close();
  say(row.error || 'ready', Boolean(row.error));
  writeRows();
  select(row);
}

/* Where the Exif block of a JPEG or PNG begins and ends; null: there is none. */
function exifOf(bytes) {
  const view = new DataView(bytes.buffer), isExif = (at, text) => text.every((c, i) => bytes[at + i] === c);
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    for (let at = 2; at + 8 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
      if (bytes[at + 1] === 0xff) {
        at++;
        continue;
      }
      const end = at + 2 + view.getUint16(at + 2);
      if (bytes[at + 1] === 0xe1 && isExif(at + 4, [0x45, 0x78, 0x69, 0x66])) return [at, end];
      at = end;
    }
  } else if (bytes[0] === 0x89 && bytes[1] === 0x50) {
    for (let at = 8, end; at + 12 <= bytes.length; at = end) {
      end = at + 12 + view.getUint32(at);
      if (isExif(at + 4, [0x65, 0x58, 0x49, 0x66])) return [at, end];
    }
  }
  return null;
}

/* The server judges the pixels as they are stored. A browser turns them as Exif says, and the option of createImageBitmap
 * that kept it from that means nothing any more: the map would lie on another place of the part. */
async function unturned(blob) {
  const exif = exifOf(new Uint8Array(await blob.arrayBuffer()));
  return exif ? unturned(new Blob([blob.slice(0, exif[0]), blob.slice(exif[1])], {type: blob.type})) : blob;
}

/* Browsers do not read every format that the server does: then the map stands on grey. */
async function bitmapOf(blob, result) {
  try {
    const bitmap = await createImageBitmap(blob);
    if (bitmap.width !== result.width || bitmap.height !== result.height) throw new Error('turned');
    return bitmap;
  } catch {
    const canvas = document.createElement('canvas');
    canvas.width = result.width;
    canvas.height = result.height;
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#808080';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    return canvas;
  }
}

function thumbnail(row) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 104;
  const pen = canvas.getContext('2d'), side = Math.min(row.bitmap.width, row.bitmap.height);
  const x = (row.bitmap.width - side) / 2, y = (row.bitmap.height - side) / 2;
  pen.drawImage(row.bitmap, x, y, side, side, 0, 0, 104, 104);
  pen.globalAlpha = 0.75;
  const sx = row.map.width / row.bitmap.width, sy = row.map.height / row.bitmap.height;
  pen.drawImage(row.map, x * sx, y * sy, side * sx, side * sy, 0, 0, 104, 104);
  return canvas.toDataURL('image/jpeg', 0.8);
}

/* ---- drawing ---- */

function select(row) {
  selected = row;
  for (const line of $('rows').children) line.setAttribute('aria-selected', String(Number(line.dataset.key) === row.key));
  const r = row.result;
  $('result').hidden = false;
  $('result').classList.toggle('none', !r);
  $('verdict').classList.toggle('bad', !r || r.anomalous);
  $('word').textContent = !r ? 'No verdict' : r.anomalous ? 'Defect' : 'Good';
  $('why').textContent = r ? '' : `${row.name}: ${row.error}`;
  if (!r) return; // and nothing of the part before is shown
  $('score').textContent = r.score.toFixed(3);
  $('class-shown').textContent = r.class + {given: '', inferred: ' (recognised)', single: ''}[r.class_source];
  $('regions').textContent = r.regions.length;
  $('time').textContent = `${row.result.latency.toFixed(0)} ms (${r.milliseconds.toFixed(0)} in the server)`;
  $('bar-fill').style.width = `${100 * r.score}%`;
  $('bar').setAttribute('aria-label', `score ${r.score.toFixed(3)}, the threshold is 0.5`);
  draw();
}

function draw() {
  if (!selected || !selected.result) return;
  const {bitmap, map, result} = selected;
  for (const id of ['photo', 'overlay']) {
    const canvas = $(id);
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
  }
  const found = result.regions.length === 1 ? '1 region is marked' : `${result.regions.length} regions are marked`;
  $('photo').setAttribute('aria-label', selected.name);
  $('overlay').setAttribute('aria-label', `anomaly map of ${selected.name}: ${found}`);
  const pen = $('overlay').getContext('2d');
  pen.globalAlpha = $('opacity').value / 100;
  pen.drawImage(map, 0, 0, bitmap.width, bitmap.height);
  pen.globalAlpha = 1;
  if (!$('outline').checked) return;
  const line = 1 + Math.floor(Math.min(bitmap.width, bitmap.height) / 250);
  for (const box of result.regions)
    for (const [colour, width] of [['#000', line + 2], ['#fff', line]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(box.x + line / 2, box.y + line / 2, Math.max(1, box.width - line), Math.max(1, box.height - line));
    }
}

function cell(content, className) {
  const td = document.createElement('td');
  if (className) td.className = className;
  td.append(content);
  return td;
}

function firstCell(row) {
  const picture = document.createElement(row.thumbnail ? 'img' : 'div');
  if (row.thumbnail) {
    picture.src = row.thumbnail;
    picture.alt = '';
  } else {
    picture.className = 'blank';
  }
  const name = document.createElement('span');
  name.className = 'name';
  name.textContent = row.name;
  const part = document.createElement('div');
  part.className = 'part';
  part.append(picture, name);
  return cell(part);
}

function writeRow(row) {
  const tr = document.createElement('tr'), r = row.result;
  tr.dataset.key = row.key;
  tr.tabIndex = 0;
  tr.className = row.error ? 'failed' : r.anomalous ? 'bad' : '';
  tr.setAttribute('aria-selected', 'false');
  const time = row.at.toLocaleTimeString([], {hour12: false});
  tr.append(firstCell(row), cell(row.error ? 'failed' : r.anomalous ? 'Defect' : 'Good', 'mark'));
  if (row.error) {
    const td = cell(row.error);
    td.colSpan = 3;
    tr.append(td);
  } else {
    tr.append(cell(r.score.toFixed(3)), cell(r.class), cell(`${r.latency.toFixed(0)} ms`));
  }
  tr.append(cell(time));
  tr.addEventListener('click', () => select(row));
  tr.addEventListener('keydown', (e) => e.key === 'Enter' && select(row));
  return tr;
}

function writeRows() {
  $('rows').replaceChildren(...rows.map(writeRow));
  writeTotals();
}

function writeTotals() {
  const done = rows.filter((r) => r.result), bad = done.filter((r) => r.result.anomalous).length;
  if (done.length === 0) {
    $('totals').textContent = rows.length > 0 ? 'no verdict yet' : 'none yet';
    return;
  }
  const latencies = done.map((r) => r.result.latency).sort((a, b) => a - b);
  const now = performance.now();
  while (times.length > 0 && now - times[0] > 10000) times.shift();
  $('totals').textContent = `${done.length} parts, ${bad} with defects; ${(times.length / 10).toFixed(1)} a second over the last ten; ` +
    `latency ${latencies[Math.floor(latencies.length / 2)].toFixed(0)} ms (median)`;
}

/* ---- camera ---- */

function closeCamera() {
  stream.getTracks().forEach((t) => t.stop());
  stream = null;
  showCamera();
}

async function toggleCamera() {
  if (stream) {
    closeCamera();
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment', width: {ideal: 1280}}});
    $('video').srcObject = stream;
    await $('video').play();
  } catch (e) {
    stream = null;
    say(window.isSecureContext ? `no camera: ${e.message}` : 'the camera needs HTTPS, or this machine itself', true);
  }
  showCamera();
}

function showCamera() {
  for (const id of ['shot', 'live-label', 'video']) $(id).hidden = !stream;
  $('camera').setAttribute('aria-pressed', String(Boolean(stream)));
  if (!stream) $('live').checked = false;
}

function shoot() {
  const video = $('video');
  if (stream && !stream.active) { // unplugged: its last picture stays, and is of no part
    closeCamera();
    say('the camera is gone', true);
  }
  if (!stream || video.videoWidth === 0) return Promise.resolve();
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  return new Promise((done) => canvas.toBlob((blob) => {
    add(blob, 'camera');
    done();
  }, 'image/jpeg', 0.95));
}

async function keepShooting() {
  while ($('live').checked && stream) {
    const begun = performance.now();
    if (!sending) await shoot();
    await new Promise((done) => setTimeout(done, Math.max(20, liveEvery - (performance.now() - begun))));
  }
}

/* ---- events ---- */

function takeFiles(files) {
  for (const file of files) add(file, file.name || 'pasted');
}

function walk(step) {
  const at = rows.indexOf(selected), next = rows[Math.max(0, Math.min(rows.length - 1, at + step))];
  if (next) select(next);
}

function slide(step) {
  $('opacity').value = Number($('opacity').value) + step;
  draw();
}

const keys = {
  o: () => $('file').click(), c: toggleCamera, ' ': shoot, ArrowLeft: () => slide(-5), ArrowRight: () => slide(5),
  b: () => { $('outline').checked = !$('outline').checked; draw(); }, ArrowUp: () => walk(-1), ArrowDown: () => walk(1),
};

document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey || /^(INPUT|SELECT|BUTTON)$/.test(e.target.tagName)) return;
  if (e.target === $('drop') && (e.key === 'Enter' || e.key === ' ')) {
    e.preventDefault();
    $('file').click();
    return;
  }
  const act = keys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (!act) return;
  e.preventDefault();
  act();
});
document.addEventListener('paste', (e) => takeFiles(e.clipboardData.files));
document.addEventListener('dragover', (e) => {
  e.preventDefault();
  $('drop').classList.add('over');
});
document.addEventListener('dragleave', (e) => e.relatedTarget || $('drop').classList.remove('over'));
document.addEventListener('drop', (e) => {
  e.preventDefault();
  $('drop').classList.remove('over');
  takeFiles(e.dataTransfer.files);
});
$('file').addEventListener('change', () => {
  takeFiles($('file').files);
  $('file').value = '';
});
$('model').addEventListener('change', fillClasses);
$('token').addEventListener('change', () => {
  sessionStorage.setItem('token', $('token').value);
  connect();
});
$('opacity').addEventListener('input', draw);
$('outline').addEventListener('change', draw);
$('camera').addEventListener('click', toggleCamera);
$('shot').addEventListener('click', shoot);
$('live').addEventListener('change', keepShooting);
setInterval(writeTotals, 1000);
$('token').value = sessionStorage.getItem('token') || '';
$('token-label').hidden = !$('token').value;
writeTotals();
connect();
