"""A handler's writes and its job's completion in one commit: nothing happens twice."""

import asyncio

from pgjobs import App, RunningJob

app = App()


@app.job("transfer")
async def transfer(job: RunningJob[dict[str, int]]) -> None:
    """Adds to a balance exactly once, whatever crashes in between."""
    async with job.transaction(result={"done": True}) as conn:
        await conn.execute(
            "update balances set amount = amount + $1 where account = $2",
            job.payload["amount"], job.payload["account"],
        )


async def main() -> None:
    """Enqueues in the transaction of another write, then works."""
    async with app:
        pool = await app.pool()
        await pool.execute("create table if not exists balances (account int, amount int)")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("insert into balances values (1, 0)")
            await transfer.enqueue({"account": 1, "amount": 10}, conn=connection)
        await app.worker().run(until_empty=True)
        amount = await pool.fetchval("select amount from balances where account = 1")
        print(f"the transfer of 10 was made once: the balance is {amount}")


if __name__ == "__main__":
    asyncio.run(main())
