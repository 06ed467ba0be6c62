/** How times, decisions and people are told. */

import type { Action, Queue } from "../contract.ts";

export const DONE: Record<Action, string> = {
  accept: "Accepted",
  reject: "Rejected",
  skip: "Skipped",
  reopen: "Reopened",
  save: "Saved",
};

export const QUEUE_WORDS: Record<Queue | "all", string> = {
  todo: "To do",
  accepted: "Accepted",
  rejected: "Rejected",
  skipped: "Skipped",
  all: "All",
};

export function ago(atS: number, nowMs = Date.now()): string {
  const seconds = Math.max(0, nowMs / 1000 - atS);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(atS * 1000).toLocaleDateString();
}

export function clock(atS: number): string {
  return new Date(atS * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

export function duration(hours: number): string {
  if (hours < 1 / 60) return "under a minute";
  if (hours < 1) return `${Math.round(hours * 60)} min`;
  return hours < 10 ? `${hours.toFixed(1)} h` : `${Math.round(hours)} h`;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}
