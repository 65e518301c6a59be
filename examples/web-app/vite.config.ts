import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Relative, so that the folder can be served from anywhere below an origin.
  base: "./",
});
