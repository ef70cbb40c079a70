"""The examples of posts: a model runs the prompt, moderation screens what it writes, watchers see it appear."""
