/* The Markdown that is understood: paragraphs, headings, lists, quotes, code, emphasis, links to http(s) addresses. */

// Each in linear time: after `\s` comes what cannot be a space, and `[^]` is what `.` is not, U+2028 too.
export const FENCE = /^(`{3,}|~{3,})(?![`~])\s*(?:\S+\s*)?$/;
export const HEADING = /^(#{1,6})\s+(\S[^]*)$/;
export const ITEM = /^\s{0,3}([-*+]|\d{1,9}[.)])\s+(\S[^]*)?$/;
export const QUOTE = /^>\s?(.*)$/;

// Code, strong, emphasis, [text](address), bare address. No part is unbounded next to another: linear on any input.
export const INLINE =
  /(`[^`\n]{1,1000}`)|(\*\*[^*\n]{1,1000}\*\*)|(\*[^*\s\n][^*\n]{0,1000}\*)|\[([^\]\n]{1,500})\]\((https?:\/\/[^\s()<>]{1,2000})\)|(https?:\/\/[^\s<>"'()]{1,2000})/g;
