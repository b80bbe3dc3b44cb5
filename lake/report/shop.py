"""The questions of the domain shop: orders, products, customers, stock. Money is in euros."""

from lake.report.sections import Section

ENTITIES = ("customers", "orders", "products", "reviews", "stock_movements")
ACCOUNTS = " UNION ALL BY NAME ".join(
    f"SELECT '{name}' AS entity, * FROM {{silver.shop_{name}__accounting}}"  # noqa: S608 - our own names
    for name in ENTITIES
)

SECTIONS: tuple[Section, ...] = (
    Section(
        "Shop",
        "Orders",
        "How much was sold?",
        """
        SELECT sum(orders) AS "Orders", sum(net_revenue) AS "Net revenue [€]", sum(refunds) AS "Refunds [€]",
            sum(gross_revenue - discount) / nullif(sum(orders), 0) AS "Average basket [€]"
        FROM {gold.shop_orders_daily}
        """,
        "tiles",
    ),
    Section(
        "Shop",
        "Net revenue per day",
        "What does each day earn?",
        """
        SELECT order_date AS "Day", net_revenue AS "Net revenue [€]" FROM {gold.shop_orders_daily} ORDER BY 1
        """,
        "bars",
    ),
    Section(
        "Shop",
        "Revenue by category",
        "Which categories sell?",
        """
        SELECT coalesce(category, 'Unknown') AS "Category", sum(revenue) AS "Revenue [€]"
        FROM {gold.shop_product_performance} GROUP BY 1 HAVING sum(revenue) > 0 ORDER BY 2 DESC, 1
        """,
        "share",
    ),
    Section(
        "Shop",
        "Top 15 products",
        "Which products earn most, all their variants together?",
        """
        SELECT coalesce(name, product_id) AS "Product", sum(revenue) AS "Revenue [€]"
        FROM {gold.shop_product_performance} GROUP BY 1 HAVING sum(revenue) > 0 ORDER BY 2 DESC, 1 LIMIT 15
        """,
        "hbars",
    ),
    Section(
        "Shop",
        "Customers' value by country",
        "Where are the customers worth most?",
        """
        WITH valued AS (
            SELECT coalesce(country, 'Unknown') AS country, coalesce(segment, 'Unknown') AS segment,
                sum(lifetime_value) AS lifetime_value
            FROM {gold.shop_customer_lifetime_value} GROUP BY ALL HAVING sum(lifetime_value) <> 0
        )
        SELECT country AS "Country", segment AS "Segment", lifetime_value AS "Lifetime value [€]" FROM valued
        ORDER BY sum(lifetime_value) OVER (PARTITION BY country) DESC, 1, 2
        """,
        "hbars",
    ),
    Section(
        "Shop",
        "Least stock",
        "What will run out first?",
        """
        SELECT coalesce(product_name, product_id) AS "Product", warehouse AS "Warehouse", on_hand AS "On hand [pieces]",
            sold AS "Sold [pieces]", last_moved_at AS "Last moved"
        FROM {gold.shop_stock_on_hand} ORDER BY on_hand, 1, 2 LIMIT 15
        """,
        "table",
    ),
    Section(
        "Shop",
        "Row accounting of the shop",
        "Is every row accounted for?",
        """
        SELECT entity AS "Documents and rows", sum(bronze_rows) AS "Bronze [rows]", sum(live_rows) AS "Silver [rows]",
            sum(rejected_rows) AS "Rejected [rows]", sum(superseded_rows) AS "Older versions [rows]",
            sum(deleted_rows) AS "Deleted [rows]", sum(repeated_rows) AS "Repeated [rows]",
            sum(unaccounted_rows) AS "Unaccounted [expected 0]"
        FROM (
        """  # noqa: S608 - our own names
        + ACCOUNTS
        + ") GROUP BY ALL ORDER BY 1",
        "table",
    ),
)
