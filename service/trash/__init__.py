"""Move copies of photos to a trash folder, and bring them back.

Where things lie::

    PHOTOS/.isophote-trash/         one per indexed folder, or the one that --trash names
        2026-11-26-101500-ab12cd/   one per run, readable by its owner only
            journal.jsonl           what was moved from where
            files/2019/IMG_1.jpg    under the path it had below PHOTOS, or its full path
    COLLECTION/trash.jsonl          all trash folders that this collection used

The trash of an indexed folder is on its drive, so that moving is renaming, and hidden, so that no
scan enters it. A journal names files relative to the folder the trash lies in, if they were below
it: it holds all that undoing needs, also when the collection is lost, or when the drive is mounted
elsewhere by then. The file beside the collection only tells where to look.

How nothing is lost: a run's journal names a file, on the disk, before the file moves. What has
become of it is not believed from the journal but looked up, as after a crash only the disk knows:

==========  ==========  =========================================================================
in trash    in place    `isophote undo`
==========  ==========  =========================================================================
yes         no          moves it back
no          yes         has nothing to do: it was not moved, or is back already
yes         same bytes  drops the one in the trash: a move broke off between copying and removing
yes         other       leaves both and says so
no          no          says so, unless it was never moved
==========  ==========  =========================================================================

A file that has been copied to a trash on another drive is renamed before it is removed, to see that
it is still what was copied; undoing looks for that name, `.isophote-` and a hash, as well.

Nothing is overwritten on either way, and nothing is removed before the same bytes were seen
elsewhere. Emptying the trash is left to the user; no command deletes photos.
"""
