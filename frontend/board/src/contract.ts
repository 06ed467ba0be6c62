/** What the service takes and answers: `docs/api.md` and `docs/store.md`, as far as the page needs it. */

/** The sampling parameters that the page lets people set; each is sent with every request. */
export interface Sampling {
  temperature: number;
  opening_temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  max_new_tokens: number;
}

export interface ModelInfo {
  name: string;
  aliases: string[];
  default: boolean;
  state: "loaded" | "loading" | "unloaded";
  description: string;
  base_model: string;
  architecture: string;
  precision: string;
  context_length: number;
  vocab_size: number;
  default_sampling: Sampling;
  evaluation: Record<string, number>;
  license: string;
  card: string;
  /** 12 characters of the hash of the model's file. */
  edition?: string;
}

export interface GenerateBody extends Sampling {
  prompt: string;
  model: string;
  seed: number;
}

export interface TokenEvent {
  index: number;
  text: string;
  token_id: number | null;
}

export interface EndEvent {
  model: string;
  model_edition?: string;
  greentexts: { id: string; text: string; finish_reason: string; seed: number; prompt: string }[];
  usage: { prompt_tokens: number; completion_tokens: number };
}

export interface ErrorBody {
  type: string;
  message: string;
  field?: string;
}

export type Opinion = "good" | "bad";

export interface RatingAnswer {
  rating: Opinion | null;
  saved: boolean;
  good: number | null;
  bad: number | null;
}

/** A text that the service keeps. */
export interface Kept {
  id: string;
  text: string;
  model: string;
  model_edition?: string | null;
  created_s: number;
  finish_reason: string;
  good: number;
  bad: number;
  your_rating: Opinion | null;
  mine: boolean;
  shared: boolean;
  on_board: boolean;
  prompt?: string | null;
  seed?: number | null;
  sampling?: Record<string, unknown> | null;
}

/** How a wish to be on the board, or off it, was answered. */
export interface SharedAnswer extends Partial<Kept> {
  shared: boolean;
  on_board: boolean;
  saved?: boolean;
  reason?: string | null;
}

export type BoardOrder = "recent" | "best";

export interface BoardPage {
  order: BoardOrder;
  greentexts: Kept[];
  next: string | null;
}
