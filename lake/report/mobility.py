"""The questions of the domain mobility: NYC taxi trips, and users."""

from lake.report.sections import Section

SECTIONS: tuple[Section, ...] = (
    Section(
        "Mobility",
        "Totals",
        "How much was driven?",
        """
        SELECT sum(trips) AS "Trips", sum(revenue) AS "Revenue [$]", count(DISTINCT service) AS "Services",
            count(DISTINCT source_month) AS "Months"
        FROM {gold.mobility_trips_by_zone_day}
        """,
        "tiles",
    ),
    Section(
        "Mobility",
        "Rejected share",
        "How much of what was read was refused?",
        """
        SELECT sum(rejected_rows) / nullif(sum(bronze_rows), 0) AS "Rejected share [%]"
        FROM {silver.mobility_*_trips__accounting: bronze_rows, rejected_rows}
        """,
        "tiles",
    ),
    Section(
        "Mobility",
        "Trips per day",
        "How do trips develop from day to day?",
        """
        SELECT pickup_date AS "Day", service AS "Service", sum(trips) AS "Trips"
        FROM {gold.mobility_trips_by_zone_day} GROUP BY ALL ORDER BY ALL
        """,
        "line",
    ),
    Section(
        "Mobility",
        "Revenue per day",
        "What does each day earn?",
        """
        SELECT pickup_date AS "Day", service AS "Service", sum(revenue) AS "Revenue [$]"
        FROM {gold.mobility_trips_by_zone_day} GROUP BY ALL HAVING sum(revenue) IS NOT NULL ORDER BY ALL
        """,
        "line",
    ),
    Section(
        "Mobility",
        "Trips by hour of day",
        "At what hour do people ride?",
        """
        SELECT pickup_hour AS "Pickup hour", service AS "Service", sum(trips) AS "Trips"
        FROM {gold.mobility_trips_by_hour} GROUP BY ALL ORDER BY ALL
        """,
        "bars",
    ),
    Section(
        "Mobility",
        "Service mix",
        "Which service carries the trips?",
        """
        SELECT service AS "Service", sum(trips) AS "Trips"
        FROM {gold.mobility_trips_by_zone_day} GROUP BY ALL ORDER BY 2 DESC, 1
        """,
        "share",
    ),
    Section(
        "Mobility",
        "Top 15 pickup zones",
        "Where do most trips start?",
        """
        SELECT concat_ws(', ', coalesce(zone, 'Zone ' || pickup_zone_id, 'Unknown'), borough) AS "Zone",
            sum(trips) AS "Trips"
        FROM {gold.mobility_trips_by_zone_day} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 15
        """,
        "hbars",
    ),
    Section(
        "Mobility",
        "Reject reasons",
        "Why were rows refused?",
        """
        WITH counted AS (
            SELECT reject_reason, service, count(*) AS rejected
            FROM {silver.mobility_*_trips__rejected: service, reject_reason} GROUP BY ALL
        )
        SELECT reject_reason AS "Reason", service AS "Service", rejected AS "Rows" FROM counted
        ORDER BY sum(rejected) OVER (PARTITION BY reject_reason) DESC, 1, 2
        """,
        "hbars",
    ),
    Section(
        "Mobility",
        "Green trips by payment type",
        "How do green-taxi riders pay?",
        """
        SELECT coalesce(payment_type_name, 'Type ' || payment_type, 'Unknown') AS "Payment type",
            sum(trips) AS "Trips"
        FROM {gold.mobility_green_trips_by_payment_type} GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        "hbars",
    ),
    Section(
        "Mobility",
        "Users by city",
        "Where do the users live? (15 largest cities)",
        """
        SELECT coalesce(city, 'Unknown') AS "City", sum(users) AS "Users"
        FROM {gold.mobility_users_by_city} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 15
        """,
        "hbars",
    ),
    Section(
        "Mobility",
        "Row accounting",
        "Is every row accounted for?",
        """
        SELECT service AS "Service", source_month AS "Month", sum(bronze_rows) AS "Bronze [rows]",
            sum(silver_rows) AS "Silver [rows]", sum(rejected_rows) AS "Rejected [rows]",
            sum(duplicate_rows) AS "Duplicates [rows]", sum(unaccounted_rows) AS "Unaccounted [expected 0]",
            sum(rejected_rows) / nullif(sum(bronze_rows), 0) AS "Rejected share [%]"
        FROM {silver.mobility_*_trips__accounting: service, source_month, bronze_rows, silver_rows,
            rejected_rows, duplicate_rows, unaccounted_rows}
        GROUP BY ALL ORDER BY 1, 2
        """,
        "table",
    ),
)
