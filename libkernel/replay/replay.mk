# lk-replay: the program, and its tests under the sanitizers. Included by ../Makefile.

REPLAY_SOURCES := $(wildcard replay/*.c)
REPLAY_HEADERS := $(wildcard replay/*.h)
REPLAY_TESTED := $(filter-out replay/main.c,$(REPLAY_SOURCES))

.PHONY: lk-replay test-replay

lk-replay: $(BUILD)/lk-replay

test-replay: $(BUILD)/gcc/replay_test
	$(abspath $<)

test: test-replay

$(BUILD)/lk-replay: $(REPLAY_SOURCES) $(REPLAY_HEADERS) $(SOURCES) $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) $(CFLAGS) -Iinclude -Isrc -Ireplay -o $@ $(REPLAY_SOURCES) $(SOURCES)

$(BUILD)/gcc/replay_test: replay/tests/test_replay.c tests/harness.h $(REPLAY_TESTED) $(REPLAY_HEADERS) $(SOURCES) $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(WARNINGS) $(SANITIZE) -Iinclude -Isrc -Ireplay -Itests -o $@ $< $(REPLAY_TESTED) $(SOURCES)
