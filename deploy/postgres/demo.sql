-- The demonstration has a database of its own. Run once, when PostgreSQL's volume is made.
CREATE DATABASE tradeflow_demo;
