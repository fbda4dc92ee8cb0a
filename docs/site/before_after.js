// A clip whose left half is the input and whose right half is the output, drawn over each other with a divider that the
// pointer or the arrow keys move. Both halves come out of one picture, so they can't fall out of step.

function drawn(video, canvas, share) {
  const width = video.videoWidth / 2;
  const height = video.videoHeight;
  const cut = Math.round(width * share);
  if (canvas.width !== width) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.drawImage(video, width, 0, width, height, 0, 0, width, height);
  if (cut > 0) context.drawImage(video, 0, 0, cut, height, 0, 0, cut, height);
  context.fillStyle = "white";
  context.fillRect(cut - 0.5, 0, 1, height);
}

function divided(figure) {
  const video = figure.querySelector("video");
  if (figure.querySelector("canvas")) return;
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "slider");
  canvas.setAttribute("aria-label", "input on the left, output on the right");
  let share = 0.5;
  const moveTo = (value) => {
    share = Math.min(1, Math.max(0, value));
    canvas.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    if (video.readyState >= 2) drawn(video, canvas, share);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    moveTo((event.clientX - box.left) / box.width);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.05, ArrowRight: 0.05 }[event.key];
    if (step) moveTo(share + step);
  });
  const follow = () => {
    if (!canvas.isConnected) return;
    if (video.readyState >= 2) drawn(video, canvas, share);
    requestAnimationFrame(follow);
  };
  moveTo(share);
  video.after(canvas);
  // Hidden by size, not by display: a browser stops videos that aren't displayed.
  video.style.cssText = "position:absolute;width:1px;height:1px;opacity:0;pointer-events:none";
  video.play().catch(() => {});
  follow();
}

const start = () => document.querySelectorAll("figure.before-after").forEach(divided);
// Pages change without being loaded anew.
if (window.document$) window.document$.subscribe(start);
else document.addEventListener("DOMContentLoaded", start);
