"""Parts that every page uses: layout, jobs, downloads, words."""
