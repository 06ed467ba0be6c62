import { describe, expect, test } from "vitest";

import type { Row } from "../contract.ts";
import { type LocalCopy, LocalDrafts, chooseDraft } from "./local-drafts.ts";
import { MemoryKeeper } from "./memory-keeper.ts";

const ROW = { id: "7", text: ">row", genre: null, version: 2, changed_at_s: 50 } as Row;

function copy(text: string, atS: number, fields: Partial<LocalCopy> = {}): LocalCopy {
  return { row_id: "7", tab: "tab1", text, genre: null, version: 2, at_s: atS, synced: false, ...fields };
}

describe("chooseDraft", () => {
  test("the row, when nothing else was typed", () => {
    expect(chooseDraft(ROW, null, [])).toMatchObject({ text: ">row", from: "row", version: 2 });
    expect(chooseDraft(ROW, { text: ">row", saved_at_s: 99, version: 1 }, [copy(">row", 99)]).from).toBe(
      "row",
    );
  });

  test("the newest of both", () => {
    const draft = { text: ">server", saved_at_s: 100, version: 1 };
    expect(chooseDraft(ROW, draft, [copy(">browser", 90)])).toMatchObject({
      text: ">server",
      from: "server",
      version: 1,
      others: [{ text: ">browser", at_s: 90 }],
    });
    expect(chooseDraft(ROW, draft, [copy(">browser", 110)])).toMatchObject({
      text: ">browser",
      from: "browser",
    });
  });

  test("the same text twice is one", () => {
    const draft = { text: ">typed", saved_at_s: 100, version: 2 };
    expect(chooseDraft(ROW, draft, [copy(">typed", 110)]).others).toEqual([]);
  });

  test("texts of all tabs are offered", () => {
    const copies = [copy(">one", 10), copy(">two", 20, { tab: "tab2" }), copy(">three", 15, { tab: "tab3" })];
    const choice = chooseDraft(ROW, null, copies);
    expect(choice.text).toBe(">two");
    expect(choice.others.map((other) => other.text)).toEqual([">three", ">one"]);
  });

  test("a genre that was picked, and no text", () => {
    expect(chooseDraft(ROW, null, [copy(">row", 10, { genre: "thanks" })])).toMatchObject({
      genre: "thanks",
    });
  });
});

describe("LocalDrafts", () => {
  test("one copy a row and tab, over a reload", () => {
    const keeper = new MemoryKeeper();
    const drafts = new LocalDrafts(keeper, "store", "Ann");
    drafts.put(copy(">a", 1));
    drafts.put(copy(">b", 2));
    drafts.put(copy(">c", 3, { tab: "tab2" }));
    drafts.put(copy(">d", 4, { row_id: "70" }));
    const texts = new LocalDrafts(keeper, "store", "Ann").of("7").map((kept) => kept.text);
    expect(texts).toEqual([">c", ">b"]);
  });

  test("only the text that the server has is synced", () => {
    const drafts = new LocalDrafts(new MemoryKeeper(), "store", "Ann");
    drafts.put(copy(">newer", 1));
    drafts.synced("7", "tab1", ">older");
    expect(drafts.of("7")[0]?.synced).toBe(false);
    drafts.synced("7", "tab1", ">newer");
    expect(drafts.of("7")[0]?.synced).toBe(true);
  });

  test("what is put aside is kept, each text once", () => {
    const drafts = new LocalDrafts(new MemoryKeeper(), "store", "Ann");
    drafts.setAside("7", { text: ">a", at_s: 1 });
    drafts.setAside("7", { text: ">b", at_s: 2 });
    drafts.setAside("7", { text: ">a", at_s: 3 });
    expect(drafts.aside("7")).toEqual([
      { text: ">a", at_s: 3 },
      { text: ">b", at_s: 2 },
    ]);
  });

  test("what is no JSON is passed over", () => {
    const keeper = new MemoryKeeper();
    keeper.records.set("gtx:draft:store:Ann:7:tab1", "{");
    expect(new LocalDrafts(keeper, "store", "Ann").all()).toEqual([]);
  });
});
