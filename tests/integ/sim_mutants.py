"""The mistakes of test_sim_mutants.py: what is replaced in which file of the store. The first ones are those of the model that
the journal was designed with; its fourteenth, records that carry no epoch, does no harm as long as they carry a sequence
number (unit/journal has it), nor does it in the model."""
import collections

# rare: a crash at the one moment that shows it takes some hundred thousand states, which are for the campaigns.
Mutant = collections.namedtuple("Mutant", "name source changes arguments rare")
CONTENT = ("--content",)
NAMES = ()


def of(name, source, *changes, arguments=CONTENT, rare=False):
    return Mutant(name, f"fs/{source}", changes, arguments, rare)


MUTANTS = [
    # Of the model.
    of("a hard record comes before its data", "store/file_commit.c",
        ("int rc = flags & FILE_COMMIT_HARD && f->unsynced ? file_lower_sync(f, true) : 0;", "int rc = 0;")),
    of("what is committed is written over in its place", "store/file_io.c",
        ("return !f->store->redo ||\n", "return true || !f->store->redo ||\n")),
    of("a checkpoint writes in place before its records are durable", "store/redo.c",
        ("\tif (!rc)\n\t\trc = redo_flush(r->store, journal_sequence(r->store->journal));\n", "")),
    of("the journal's space is reused before a checkpoint", "store/journal.c",
        ("j->used + j->reserved + sectors + spare(j) > j->ring", "j->reserved + sectors + spare(j) > j->ring")),
    of("a checkpoint does not flush what it put in place", "store/redo.c",
        ("\tif (!rc)\n\t\trc = sync_data(r, true);\n", "")),
    of("the new tail is not flushed", "store/journal.c",
        ("\t\tif (!rc)\n\t\t\trc = j->l->ops->fsync(j->l, j->fd, true);\n\t}\n\tif (rc < 0)\n\t\tj->failed = true;",
         "\t}\n\tif (rc < 0)\n\t\tj->failed = true;")),
    of("a checkpoint writes no mark", "store/redo.c", ("if (f->last > f->hard)", "if (false && f->last > f->hard)")),
    of("a checkpoint flushes one file before its mark", "store/redo.c",
        ("\tfor (struct file *f = next_file(r, NULL); f && rc >= 0; f = next_file(r, f)) {\n\t\tif (!f->unsynced &&",
         "\tstruct file *one = next_file(r, NULL);\n\tfor (struct file *f = one; f && rc >= 0; f = next_file(r, f)) {\n\t\tif (!f->unsynced &&"),
        ("\t\tif (count > SYNC_EACH)\n\t\t\tf->unsynced =", "\t\tif (count > SYNC_EACH || f != one)\n\t\t\tf->unsynced =")),
    of("a record says that those before it are durable when they are not", "store/journal.c",
        ("&at, j->durable, text->data", "&at, j->sequence, text->data")),
    of("soft records are not verified", "store/file_recover.c",
        ("if (!rc && entries[i]->sequence > hard && entries[i]->kind == JOURNAL_COMMIT)", "if (false)")),
    of("a recovery trusts the page cache", "store/recover.c",
        ("int rc = d.fd < 0 ? d.fd : l->ops->syncfs(l, d.fd);", "int rc = 0;")),
    of("a recovery does not record what it decided", "store/recover_redo.c",
        ("any = any || (f->soft && !f->decided);", "")),
    of("what is before a hard record of another file is hard", "store/recover_redo.c",
        ("\t\tstruct one f = r->files[i];\n",
         "\t\tstruct one f = r->files[i];\n\t\tfor (size_t k = 0; k < r->count; k++)\n\t\t\tif (r->files[k].hard > f.hard)\n\t\t\t\tf.hard = r->files[k].hard;\n")),
    of("one decision for all files", "store/recover_redo.c",
        ("\t\tif (!r.files[i].decided)\n\t\t\tr.files[i].upto =",
         "\t\tfor (size_t k = 0; k < r.count && r.files[i].decided; k++)\n\t\t\tif (r.files[k].decided && r.files[k].upto > r.files[i].upto)\n\t\t\t\tr.files[i].upto = r.files[k].upto;\n"
         "\tfor (size_t i = 0; i < r.count; i++)\n\t\tif (!r.files[i].decided)\n\t\t\tr.files[i].upto =")),
    # Others.
    of("what is erased is brought to its place afterwards", "store/file_range.c",
        ("\t\tfile_stage_drop(f, at, at + bytes_get64(ranges->data + i + 8));", ""), rare=True),
    of("a recovery brings back what was erased", "store/file_recover.c",
        ("\t\tcancel_erased(f, &e->erase);", "\t\t;"),
        ("\t\tfile_stage_drop(\n\t\t\tf, run.page * BLOCK_MAP_BLOCK, (run.page + run.count) * BLOCK_MAP_BLOCK);", "\t\t;")),
    of("a lower file gets shorter before the record that makes it so", "store/file_commit.c",
        ("rc = write_state(f, logs ? flags | FILE_COMMIT_LONG : flags);", "rc = write_state(f, flags);")),
    of("a checkpoint moves the modification time", "store/file_redo.c",
        ("int set = l->ops->futimens(l, f->write_fd, times);", "int set = 0;")),
    of("a recovery moves the modification time", "store/file_recover.c",
        ("\trc = l->ops->futimens(l, f->write_fd, times);\n\treturn rc && rc != -EPERM && rc != -EACCES ? rc : file_lower_sync(f, false);\n}\n\nint file_recover_apply(",
         "\treturn file_lower_sync(f, false);\n}\n\nint file_recover_apply(")),
    of("a file whose first data never came is damage", "store/file_recover.c",
        ("if (f->lower_len && n >= 0 && is_newborn(page)) {", "if (false) {")),
    of("a file that was just closed is read from the disk", "store/redo.c",
        ("while (f && (f->ino != ino || f->forgotten))", "while (f)")),
    of("a rejected soft record is applied", "store/file_recover.c",
        ("\t\tif (rc == -EBADMSG)\n\t\t\treturn 0;", "\t\tif (rc == -EBADMSG)\n\t\t\treturn *ret_upto = entries[i]->sequence, 0;")),
    of("a tag page of a dropped commit is taken for the new one", "store/file_recover.c",
        ("rc || !tags || !f->has_header ? rc : verify_set(f, ft)", "rc"), arguments=CONTENT + ("--sparse",), rare=True),
    of("a commit forgets the first page that it wrote over", "store/file_stage.c",
        ("for (const struct file_stage *p = f->changed; p;", "for (const struct file_stage *p = f->changed ? f->changed->next_changed : NULL; p;")),
    of("a home that went may come back beside names that nobody counted", "store/file_home.c",
        ("is_of(only, dir_id) && no_home_returns(f) && f->h.commits > 1", "is_of(only, dir_id) && f->h.commits > 1"), arguments=NAMES),
    of("the only home goes by its count", "store/file_home.c", ("only->names -= only->names > 1;", "if (!--only->names)\n\t\t\tmemset(only, 0, sizeof(*only));"),
        arguments=NAMES),
    of("what is appended rides without space", "store/file_ride.c", ("if (l->ops->fallocate(l, f->write_fd, 0, from, len) < 0) {", "if (false) {")),
    of("a close cuts what the durable record is longer than", "store/file.c",
        ("rc = f->ahead ? file_ride_stop(f) : file_commit_now(f, 0);",
         "rc = file_commit_now(f, 0);\n\tif (begun && !dies && f->ahead)\n\t\trc = file_lower_resize(f, block_map_length(f->h.size));")),
    of("a checkpoint takes the older time", "store/file_redo.c", ("f->time_behind ? file_modified(f) : st.st_mtim", "st.st_mtim")),
    of("a decision is not obeyed", "store/recover_redo.c", ("\t\tf->decided = true;\n", "")),
    of("what is erased is written to by a checkpoint", "store/redo.c",
        ("\tstruct file *f = redo_find(s, ino);\n\tif (f) {\n\t\tlock_rw_write(&f->lock);\n\t\tfile_stage_drop", "\tstruct file *f = NULL;\n\tif (f) {\n\t\tlock_rw_write(&f->lock);\n\t\tfile_stage_drop")),
    of("a file is forgotten before its removal is durable", "store/file.c",
        ("left = let_go(f, nameless)", "left = let_go(f, nameless || trash_name[0])")),
    of("what an erasure puts in place is not flushed by the next checkpoint", "store/file_stage.c",
        ("f->unsynced = f->unsynced || f->staged_count;\n\tf->inode_unsynced = f->inode_unsynced || f->staged_count;", "")),
    of("fsync does not wait for the time that was set", "store/file_sync.c",
        ("if (!data_only && f->store->redo && journal_touches(f->store->journal, f->ino, NULL))", "if (false)")),
    of("fsync replies before the journal is flushed", "store/file_sync.c",
        ("\tif (!rc && f->store->redo && hard)\n\t\trc = redo_flush(f->store, hard);\n", "")),
    of("a close commits nothing", "store/file.c", 
        ("rc = f->ahead ? file_ride_stop(f) : file_commit_now(f, 0);", "rc = 0;")),
    of("a recovery leaves pages behind the end", "store/file_recover.c",
        ("\tfile_stage_drop(f, e->commit.length - e->commit.length % BLOCK_MAP_BLOCK, UINT64_MAX);", "")),
    of("an end after a failed flush is called a good one", "store/redo.c", ("journal_distrust(r->store->journal);", ";"), arguments=NAMES),
    of("attributes outlive the key that they are under", "store/file_recover.c", ("rc = n < 0 ? (int)n : drop_attributes(f);", "rc = (int)n;"), arguments=NAMES),
    of("erasures are not announced", "store/file_commit.c",
        ("\tif (e)\n\t\tjournal_format_put_erase(&text, e);\n", "")),
]
