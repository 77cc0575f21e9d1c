"""Where bytes lie: folders and buckets, behind one set of guarantees."""
