/** Where a picture lies in its window. Lengths are CSS pixels; `x`, `y` is the picture's corner seen from the window's. */

export interface Size {
  width: number;
  height: number;
}

export interface Lie {
  scale: number;
  x: number;
  y: number;
}

const LARGEST = 8;
const SMALLEST = 0.05;
/** Pictures much smaller than the window grow no further when they are fitted. */
const FITTED_AT_MOST = 2;

export type Fit = "width" | "page";

export function fitted(fit: Fit, picture: Size, frame: Size): Lie {
  const wide = frame.width / picture.width;
  const scale = Math.min(
    FITTED_AT_MOST,
    fit === "width" ? wide : Math.min(wide, frame.height / picture.height),
  );
  return within({ scale, x: 0, y: 0 }, picture, frame);
}

/** Larger or smaller, with the point under the pointer staying where it is. */
export function zoomed(lie: Lie, by: number, at: { x: number; y: number }, picture: Size, frame: Size): Lie {
  const scale = Math.min(LARGEST, Math.max(SMALLEST, lie.scale * by));
  const ratio = scale / lie.scale;
  return within(
    { scale, x: at.x - (at.x - lie.x) * ratio, y: at.y - (at.y - lie.y) * ratio },
    picture,
    frame,
  );
}

export function moved(lie: Lie, dx: number, dy: number, picture: Size, frame: Size): Lie {
  return within({ ...lie, x: lie.x + dx, y: lie.y + dy }, picture, frame);
}

/** No emptiness where the picture could be; a picture smaller than the window is centred across, and on top. */
function within(lie: Lie, picture: Size, frame: Size): Lie {
  const spareX = frame.width - picture.width * lie.scale;
  const spareY = frame.height - picture.height * lie.scale;
  return {
    scale: lie.scale,
    x: spareX >= 0 ? spareX / 2 : Math.min(0, Math.max(spareX, lie.x)),
    y: spareY >= 0 ? 0 : Math.min(0, Math.max(spareY, lie.y)),
  };
}
