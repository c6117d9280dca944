"""Reports as HTML: `page` is their shell, `charts` and `strips` what is in it, the templates lie beside."""
