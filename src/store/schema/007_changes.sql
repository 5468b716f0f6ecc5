-- What changed last, and when: a number per topic, counted up over all of them in the order of commits.
-- The row `count` is the counter. It is updated first in every change, so an engine that lets writers
-- run side by side lines them up here, and a number that can be read has none below it still to come.
CREATE TABLE changes (
    topic TEXT PRIMARY KEY,
    number BIGINT NOT NULL
);

INSERT INTO changes (topic, number) VALUES ('count', 0);
