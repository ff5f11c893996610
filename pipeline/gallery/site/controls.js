// Turning the mesh by mouse, finger and keyboard.
"use strict";

dreambatch.controls = (viewer, onTouch) => {
  const { canvas } = viewer;
  const pointers = new Map();
  const STEP = Math.PI / 24;

  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    onTouch();
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) {
      viewer.approach(spread() / (apart || 1));
      return;
    }
    const scale = Math.PI / canvas.clientHeight;
    viewer.turn((before.x - event.clientX) * scale, (event.clientY - before.y) * scale);
  });

  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    onTouch();
    // A wheel that counts lines or pages moves about as far as one that counts pixels.
    const pixels = event.deltaY * [1, 33, 400][event.deltaMode];
    viewer.approach(Math.exp(-pixels / 600));
  }, { passive: false });

  const keys = new Map([
    ["ArrowLeft", () => viewer.turn(-STEP, 0)],
    ["ArrowRight", () => viewer.turn(STEP, 0)],
    ["ArrowUp", () => viewer.turn(0, STEP)],
    ["ArrowDown", () => viewer.turn(0, -STEP)],
    ["+", () => viewer.approach(1.15)],
    ["=", () => viewer.approach(1.15)],
    ["-", () => viewer.approach(1 / 1.15)],
    ["0", () => viewer.reset()],
    ["Home", () => viewer.reset()],
  ]);

  canvas.addEventListener("keydown", (event) => {
    const act = keys.get(event.key);
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    onTouch();
    act();
  });
};
