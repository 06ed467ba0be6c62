/** A post as a PNG, in the page's own colours, light or dark as the page is. */

import { type Post, numberOf } from "../keep/thread.ts";
import { boardDate } from "../text/dates.ts";
import { shown } from "../text/lines.ts";
import { type Ink, type Layout, type Written, layoutOf } from "./layout.ts";

/** Pixels for each unit, so that it is sharp where people look at it enlarged. */
const SCALE = 2;
const SANS = '"Liberation Sans", Arimo, Arial, Helvetica, sans-serif';
const FONTS: Record<Written["font"], string> = {
  text: `18px ${SANS}`,
  head: `bold 22px ${SANS}`,
  bold: `bold 15px ${SANS}`,
  small: `14px ${SANS}`,
};
const INKS: Record<Ink, string> = {
  heading: "--heading",
  name: "--name",
  quiet: "--quiet",
  green: "--green",
  ink: "--ink",
};

export async function picture(post: Post): Promise<Blob> {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (!context) throw new TypeError("this browser draws no pictures");
  const layout = layoutOf(
    {
      title: "/wg/ - Wholesome Greentext",
      name: "Anonymous",
      date: boardDate(post.atMs),
      number: numberOf(post),
      text: shown(post.text),
      source: `written by ${post.model}, a small model · ${location.host}`,
    },
    (text, font) => {
      context.font = FONTS[font];
      return context.measureText(text).width;
    },
  );
  canvas.width = layout.width * SCALE;
  canvas.height = layout.height * SCALE;
  context.scale(SCALE, SCALE);
  paint(context, layout, getComputedStyle(document.documentElement));
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => {
      if (blob) resolve(blob);
      else reject(new TypeError("the picture could not be made"));
    }, "image/png");
  });
}

function paint(context: CanvasRenderingContext2D, layout: Layout, style: CSSStyleDeclaration): void {
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const paper = context.createLinearGradient(0, 0, 0, 180);
  paper.addColorStop(0, colour("--sky"));
  paper.addColorStop(1, colour("--paper"));
  context.fillStyle = paper;
  context.fillRect(0, 0, layout.width, layout.height);
  const { post } = layout;
  context.fillStyle = colour("--post");
  context.strokeStyle = colour("--post-line");
  context.lineWidth = 1;
  context.fillRect(post.x, post.y, post.width, post.height);
  context.strokeRect(post.x + 0.5, post.y + 0.5, post.width - 1, post.height - 1);
  paintMark(context, layout.mark);
  for (const { text, x, y, ink, font } of layout.written) {
    context.font = FONTS[font];
    context.fillStyle = colour(INKS[ink]);
    context.fillText(text, x, y);
  }
}

/** The board's mark, stroke by stroke as in `mascot.svg`: a stout `>` with a face. */
function paintMark(context: CanvasRenderingContext2D, { x, y, size }: Layout["mark"]): void {
  context.save();
  context.translate(x - size / 2, y - size / 2);
  context.scale(size / 64, size / 64);
  context.lineCap = "round";
  context.lineJoin = "round";
  context.fillStyle = "#e2a33b";
  context.fill(new Path2D("M44 22c-1-8 2-14 9-16 3 7 0 13-9 16z"));
  for (const [width, ink] of [
    [20, "#3f6212"],
    [16, "#86ad2f"],
  ] as const) {
    context.strokeStyle = ink;
    context.lineWidth = width;
    context.stroke(new Path2D("M17 15l28 19-28 19"));
  }
  context.strokeStyle = "#22301a";
  context.lineWidth = 2.2;
  context.stroke(new Path2D("M33 38c2 4 6 5 9 3"));
  context.fillStyle = "#fff";
  for (const [eyeX, eyeY] of [
    [36, 27],
    [47, 33],
  ] as const) {
    context.beginPath();
    context.arc(eyeX, eyeY, 5, 0, 2 * Math.PI);
    context.fill();
  }
  context.fillStyle = "#22301a";
  for (const [eyeX, eyeY] of [
    [37.4, 27.6],
    [48.4, 33.6],
  ] as const) {
    context.beginPath();
    context.arc(eyeX, eyeY, 2.4, 0, 2 * Math.PI);
    context.fill();
  }
  context.restore();
}
