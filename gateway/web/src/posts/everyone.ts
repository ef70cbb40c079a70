/* The mesh as somebody sees it who is not logged in: what an author asks when they want to see what others do. */
import { createPromptmesh } from "@promptmesh/client";

export const everyone = createPromptmesh({ baseUrl: location.origin });
