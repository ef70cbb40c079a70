/* Verdicts, categories and states in words. */
import { CaseState, Category, Verdict } from "@promptmesh/client";
import type { Tone } from "../../components/Pieces";

export const STATES: { value: CaseState; key: string; label: string }[] = [
  { value: CaseState.OPEN, key: "open", label: "Open" },
  { value: CaseState.RESOLVED, key: "decided", label: "Decided" },
  { value: CaseState.OBSOLETE, key: "obsolete", label: "No longer needed" },
];

export const VERDICTS: Record<Verdict, { words: string; tone: Tone }> = {
  [Verdict.UNSPECIFIED]: { words: "Undecided", tone: "neutral" },
  [Verdict.ALLOW]: { words: "Approved", tone: "good" },
  [Verdict.HOLD]: { words: "Hold", tone: "warn" },
  [Verdict.REJECT]: { words: "Rejected", tone: "bad" },
};

/** What a rule alone would do. */
export const ACTIONS: Record<Verdict, string> = {
  [Verdict.UNSPECIFIED]: "",
  [Verdict.ALLOW]: "allows",
  [Verdict.HOLD]: "holds",
  [Verdict.REJECT]: "rejects",
};

export const CATEGORIES: Record<Category, string> = {
  [Category.UNSPECIFIED]: "Other",
  [Category.HARASSMENT]: "Harassment",
  [Category.HARASSMENT_THREATENING]: "Harassment, threatening",
  [Category.HATE]: "Hate",
  [Category.HATE_THREATENING]: "Hate, threatening",
  [Category.ILLICIT]: "Illicit",
  [Category.ILLICIT_VIOLENT]: "Illicit, violent",
  [Category.SELF_HARM]: "Self-harm",
  [Category.SELF_HARM_INTENT]: "Self-harm, intent",
  [Category.SELF_HARM_INSTRUCTIONS]: "Self-harm, instructions",
  [Category.SEXUAL]: "Sexual",
  [Category.SEXUAL_MINORS]: "Sexual, minors",
  [Category.VIOLENCE]: "Violence",
  [Category.VIOLENCE_GRAPHIC]: "Violence, graphic",
  [Category.PROMPT_INJECTION]: "Prompt injection",
  [Category.PII]: "Personal data",
  [Category.SPAM]: "Spam",
};
