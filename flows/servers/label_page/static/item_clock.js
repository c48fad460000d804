// The time that a person spends on an item: only while the page is visible and they do something.

const IDLE = 60000;
const TICK = 1000;

export class ItemClock {
  constructor(target) {
    this.target = target;
    this.active = this.last = performance.now();
    this.spent = 0;
    for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "touchmove", "scroll"]) {
      addEventListener(kind, () => { this.active = performance.now(); }, { passive: true, capture: true });
    }
    setInterval(() => this.tick(), TICK);
  }

  start(seconds = 0) {
    this.tick();
    this.spent = seconds * 1000;
    this.shown();
  }

  get seconds() {
    this.tick();
    return Math.round(this.spent) / 1000;
  }

  tick() {
    const now = performance.now();
    // A machine that slept ticks once for hours.
    if (!document.hidden && now - this.active < IDLE) this.spent += Math.min(now - this.last, 2 * TICK);
    this.last = now;
    this.shown();
  }

  shown() {
    const seconds = Math.floor(this.spent / 1000);
    this.target.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }
}
