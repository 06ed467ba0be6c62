"""One module a step; each stands alone, without the tables of `service.store.schema`, which go on changing."""
