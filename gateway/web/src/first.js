// Before the first paint: the theme that was chosen (state/theme.ts), so that no light page flashes up in the dark.
try {
  const theme = localStorage.getItem("promptmesh.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {}
