"""What happens inside actors: texts embedded, scenes optimised, assets published."""
