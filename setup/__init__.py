"""Making a machine ready for this project; standard library only, for it runs before all installing."""
